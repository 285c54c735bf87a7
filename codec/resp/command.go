package resp

import "github.com/sluiceproxy/sluice/codec/frame"

// keyRule is where the first key of a command is.
type keyRule uint8

const (
	firstArgument keyRule = iota // of most, also of those not in the table
	noKey
	secondArgument
	afterNumber  // the second argument counts the keys that follow: EVAL script 1 key
	afterNumber1 // the first does: ZUNION 2 key key
	afterStreams // behind the word STREAMS
	clientWords  // no key, but a look at two arguments
)

// Kinds of commands that do not answer once, or change how the connection is to be read: the low byte of
// a Note. Above it is the number of arguments.
const (
	noteOnce = iota
	noteSubscribe
	noteUnsubscribe
	notePSubscribe
	notePUnsubscribe
	noteSSubscribe
	noteSUnsubscribe
	noteMonitor
	noteReset
)

type command struct {
	key    keyRule
	note   uint8
	flags  frame.Flags
	reason string // of Refuse
}

// commands are those that differ from the others, which have their key first, answer once and leave the
// connection as it is.
var commands = func() map[string]command {
	out := map[string]command{
		"SUBSCRIBE": {note: noteSubscribe, flags: frame.Sticky}, "UNSUBSCRIBE": {note: noteUnsubscribe, flags: frame.Sticky},
		"PSUBSCRIBE": {note: notePSubscribe, flags: frame.Sticky}, "PUNSUBSCRIBE": {note: notePUnsubscribe, flags: frame.Sticky},
		"SSUBSCRIBE": {note: noteSSubscribe, flags: frame.Sticky}, "SUNSUBSCRIBE": {note: noteSUnsubscribe, flags: frame.Sticky},
		"MONITOR": {key: noKey, note: noteMonitor, flags: frame.Sticky}, "RESET": {key: noKey, note: noteReset, flags: frame.Sticky},
		"WATCH":  {flags: frame.Sticky},
		"CLIENT": {key: clientWords, flags: frame.Sticky},
		"EVAL":   {key: afterNumber}, "EVALSHA": {key: afterNumber}, "EVAL_RO": {key: afterNumber}, "EVALSHA_RO": {key: afterNumber},
		"FCALL": {key: afterNumber}, "FCALL_RO": {key: afterNumber}, "BLMPOP": {key: afterNumber}, "BZMPOP": {key: afterNumber},
		"ZUNION": {key: afterNumber1}, "ZINTER": {key: afterNumber1}, "ZDIFF": {key: afterNumber1}, "ZINTERCARD": {key: afterNumber1},
		"SINTERCARD": {key: afterNumber1}, "LMPOP": {key: afterNumber1}, "ZMPOP": {key: afterNumber1},
		"XREAD": {key: afterStreams}, "XREADGROUP": {key: afterStreams},
		"BITOP": {key: secondArgument}, "OBJECT": {key: secondArgument}, "MEMORY": {key: secondArgument}, "XINFO": {key: secondArgument},
		"XGROUP": {key: secondArgument},
	}
	for _, name := range []string{"MULTI", "EXEC", "DISCARD", "UNWATCH", "SELECT", "AUTH", "HELLO", "QUIT", "READONLY", "READWRITE", "ASKING"} {
		out[name] = command{key: noKey, flags: frame.Sticky}
	}
	for _, name := range []string{"SYNC", "PSYNC", "REPLCONF"} {
		out[name] = command{key: noKey, flags: frame.Refuse, reason: "replication_not_supported"}
	}
	for _, name := range []string{
		"PING", "ECHO", "INFO", "TIME", "DBSIZE", "FLUSHALL", "FLUSHDB", "SCAN", "KEYS", "RANDOMKEY", "CONFIG", "COMMAND", "LASTSAVE", "SAVE",
		"BGSAVE", "BGREWRITEAOF", "SHUTDOWN", "ROLE", "REPLICAOF", "SLAVEOF", "FAILOVER", "LATENCY", "SLOWLOG", "MODULE", "ACL", "CLUSTER", "SCRIPT",
		"FUNCTION", "WAIT", "WAITAOF", "SWAPDB", "LOLWUT", "PUBSUB", "DEBUG",
	} {
		out[name] = command{key: noKey}
	}
	return out
}()

// isWord says whether v is word but for the case of its letters; word is in upper case.
func isWord(v []byte, word string) bool {
	if len(v) != len(word) {
		return false
	}
	for i, c := range v {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}
