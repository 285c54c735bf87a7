package envoy

import (
	"slices"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluiceproxy/sluice/proxy/conf"
)

// layeredRuntime merges the static layers: nested names become dotted keys, later layers win (OP-30,
// OP-31). Without layered_runtime there is one admin layer.
func (c *compiler) layeredRuntime(m *bootstrapv3.LayeredRuntime, at place, out *conf.Bootstrap) {
	out.Runtime = map[string]string{}
	if len(m.GetLayers()) == 0 {
		out.RuntimeLayers = []conf.RuntimeLayer{{Name: "admin", Admin: true}}
		return
	}
	names, admin := map[string]bool{}, false
	for i, layer := range m.GetLayers() {
		here := at.field("layers").index(i)
		if names[layer.GetName()] {
			c.errs.at(here.field("name"), "another layer is called %s", shorten(layer.GetName()))
		}
		names[layer.GetName()] = true
		compiled := conf.RuntimeLayer{Name: layer.GetName()}
		if disk := layer.GetDiskLayer(); disk != nil {
			if disk.GetSymlinkRoot() == "" {
				c.errs.at(here.field("disk_layer"), "symlink_root is needed: the link whose swap changes the values")
			}
			compiled.Disk = &conf.RuntimeDisk{
				SymlinkRoot: disk.GetSymlinkRoot(), Subdirectory: disk.GetSubdirectory(), AppendServiceCluster: disk.GetAppendServiceCluster(),
			}
		} else if layer.GetAdminLayer() != nil {
			if admin {
				c.errs.at(here.field("admin_layer"), "only one admin layer is allowed")
			}
			admin, compiled.Admin = true, true
		} else {
			compiled.Values = map[string]string{}
			c.runtimeValues(layer.GetStaticLayer(), here.field("static_layer"), "", compiled.Values)
			for key, value := range compiled.Values {
				out.Runtime[key] = value
			}
		}
		out.RuntimeLayers = append(out.RuntimeLayers, compiled)
	}
}

// runtimeValues flattens one struct into dotted keys below prefix.
func (c *compiler) runtimeValues(s *structpb.Struct, at place, prefix string, into map[string]string) {
	for name, v := range s.GetFields() {
		key, here := prefix+name, at.key(name)
		switch v.GetKind().(type) {
		case *structpb.Value_StringValue:
			into[key] = v.GetStringValue()
		case *structpb.Value_BoolValue:
			into[key] = strconv.FormatBool(v.GetBoolValue())
		case *structpb.Value_NumberValue:
			into[key] = strconv.FormatFloat(v.GetNumberValue(), 'f', -1, 64)
		case *structpb.Value_StructValue:
			inner := v.GetStructValue()
			if isFraction(inner) {
				into[key] = string(c.raw(inner, here))
				continue
			}
			c.runtimeValues(inner, here, key+".", into)
		default:
			c.errs.at(here, "a runtime value is a string, number, boolean or fraction")
		}
	}
}

// isFraction recognises {numerator, denominator}: a FractionalPercent, which is one value.
func isFraction(s *structpb.Struct) bool {
	if s.GetFields()["numerator"] == nil {
		return false
	}
	for name := range s.GetFields() {
		if !slices.Contains([]string{"numerator", "denominator"}, name) {
			return false
		}
	}
	return true
}

// runtimeFlag reads a boolean runtime key; def when it is not set.
func (c *compiler) runtimeFlag(key string, def bool) bool {
	switch strings.ToLower(c.runtime[key]) {
	case "true":
		return true
	case "false":
		return false
	}
	return def
}

// runtimeNumber reads an integer runtime key; def when it is not set or not a number.
func (c *compiler) runtimeNumber(key string, def int) int {
	f, err := strconv.ParseFloat(c.runtime[key], 64)
	if err != nil || f < 0 || f > 1<<31-1 {
		return def
	}
	return int(f) // doubles are rounded down (OP-31)
}
