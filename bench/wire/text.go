package wire

import (
	"fmt"
	"strconv"
	"strings"
)

// maxTextBytes bounds what one line of a case file can expand to.
const maxTextBytes = 16 << 20

// unescape turns the text of a case file into bytes.
//
//	\r \n \t \\   as in Go      \s  a space (at the end of a line)      \xHH  one byte
//	\{text*N}     text, itself escaped, N times
func unescape(s string) ([]byte, error) {
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		if i == len(s) {
			return nil, fmt.Errorf("a lone backslash ends %q", s)
		}
		switch s[i] {
		case 'r':
			out = append(out, '\r')
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 's':
			out = append(out, ' ')
		case '\\':
			out = append(out, '\\')
		case 'x':
			if i+2 >= len(s) {
				return nil, fmt.Errorf("\\x needs two hex digits in %q", s)
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, fmt.Errorf("\\x needs two hex digits in %q", s)
			}
			out = append(out, byte(v))
			i += 2
		case '{':
			run, used, err := repetition(s[i+1:])
			if err != nil {
				return nil, err
			}
			if len(out)+len(run) > maxTextBytes {
				return nil, fmt.Errorf("more than %d bytes in one line", maxTextBytes)
			}
			out = append(out, run...)
			i += used
		default:
			return nil, fmt.Errorf("unknown escape \\%c in %q", s[i], s)
		}
	}
	return out, nil
}

// repetition expands "text*N}..." and says how many bytes of s it used.
func repetition(s string) (run []byte, used int, err error) {
	end := strings.IndexByte(s, '}')
	star := -1
	if end >= 0 {
		star = strings.LastIndexByte(s[:end], '*')
	}
	if star < 0 {
		return nil, 0, fmt.Errorf("\\{ wants text*N} in %q", s)
	}
	n, err := strconv.Atoi(s[star+1 : end])
	if err != nil || n < 0 || n*star > maxTextBytes {
		return nil, 0, fmt.Errorf("bad repetition count in %q", s[:end+1])
	}
	unit, err := unescape(s[:star])
	if err != nil {
		return nil, 0, err
	}
	return []byte(strings.Repeat(string(unit), n)), end + 1, nil
}

// wireLine is the bytes of one "> text" or "< text" line: CRLF follows unless the text ends in a
// single backslash.
func wireLine(text string) ([]byte, error) {
	open := strings.HasSuffix(text, `\`) && (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
	if open {
		return unescape(text[:len(text)-1])
	}
	if strings.TrimRight(text, " \t") != text {
		return nil, fmt.Errorf(`white space at the end of a line cannot be seen: write \s or \t`)
	}
	b, err := unescape(text)
	return append(b, '\r', '\n'), err
}

// quote shows bytes in a message, shortened in the middle when long.
func quote(b []byte) string {
	const most = 400
	if len(b) <= most {
		return strconv.Quote(string(b))
	}
	return fmt.Sprintf("%q ... %d bytes ... %q", b[:most/2], len(b)-most, b[len(b)-most/2:])
}
