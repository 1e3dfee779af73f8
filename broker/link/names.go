package link

import (
	"hash/fnv"
	"strconv"
	"strings"

	"headrace/internal/inference"
)

// Shards is the number of streams of the sync lane. A route's shard is a hash of its name. Neither ever changes, because
// front ends and workers of different versions must agree on it.
const Shards = 16

// Subjects of core NATS. Every subject of Headrace outside its streams begins with "hr.".
const (
	SubjectEnsure      = "hr.keeper.ensure" // request: a stream's name; answer: "" or an error's text
	SubjectPresence    = "hr.presence"      // workers announce themselves
	SubjectPresenceAsk = "hr.presence.ask"  // front ends ask all workers to announce themselves now
	SubjectStates      = "hr.replicas"      // workers announce what they know of model servers
	QueueKeepers       = "hr-keepers"       // queue group: one keeper answers
	PrefixFrontEnd     = "hr.fe."           // + front end id + framesToken, or "." + call id (publish acknowledgements)
	FramesToken        = ".-f"              // a hyphen is no digit of a call's number
	PrefixWorker       = "hr.w."            // + worker id + ".c" (control), ".g." (claims), ".p." (pulls)
	PrefixParcels      = "hr.parcel."       // + holder id: requests for pieces
	PrefixPieces       = "hr.piece."        // + receiver id + "." + transfer: the pieces
	StreamPrefix       = "INFER_"           // + shard
	SubjectAPINext     = "$JS.API.CONSUMER.MSG.NEXT."
	SubjectAPIGet      = "$JS.API.DIRECT.GET." // + stream
	SubjectAPIDelete   = "$JS.API.STREAM.MSG.DELETE."
)

// Token encodes a name as one token of a subject, which is also a legal consumer name: letters, digits and
// hyphens stay, every other byte becomes "_" and two hexadecimal digits. Different names have different tokens.
func Token(name string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// Untoken is the inverse of Token. It returns a token that Token cannot have made as it is.
func Untoken(tok string) string {
	var b []byte
	for i := 0; i < len(tok); i++ {
		if tok[i] == '_' && i+2 < len(tok) {
			if c, err := strconv.ParseUint(tok[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, tok[i])
	}
	return string(b)
}

// ShardOf returns the shard of a route.
func ShardOf(route string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(route)) // a hash never fails to write
	return int(h.Sum32() % Shards)
}

// Lane holds the names of everything in NATS that belongs to one route.
type Lane struct {
	Stream   string // INFER_<shard>
	Subject  string // infer.<provider>.<route>.<shard>
	Consumer string // the route's durable
}

// LaneOf returns the lane of a route. The shard is the subject's last token because the subjects of two streams must not
// overlap, and no wildcard matches a hash.
func LaneOf(route *inference.Route) Lane {
	shard := strconv.Itoa(ShardOf(route.Name))
	tok := Token(route.Name)
	return Lane{
		Stream:   StreamPrefix + shard,
		Subject:  "infer." + Token(route.Provider) + "." + tok + "." + shard,
		Consumer: "r-" + tok,
	}
}

// StreamSubject is the wildcard subject of the messages in a shard's stream.
func StreamSubject(shard int) string { return "infer.*.*." + strconv.Itoa(shard) }

// ShardOfStream returns the shard that a stream's name stands for; ok is false for streams that are not of the sync lane.
func ShardOfStream(stream string) (shard int, ok bool) {
	digits, found := strings.CutPrefix(stream, StreamPrefix)
	if !found {
		return 0, false
	}
	shard, err := strconv.Atoi(digits)
	if err != nil || shard < 0 || shard >= Shards || strconv.Itoa(shard) != digits {
		return 0, false
	}
	return shard, true
}

// The protocol of syncs, between an embedded server that syncs on request and the processes that write to its streams.
const (
	// SubjectSync + stream requests a sync of everything that the stream has acknowledged. The answer is empty, or the
	// reason why the sync failed.
	SubjectSync = "hr.sync."
	// SyncMark in a stream's metadata says that its writers have to request syncs.
	SyncMark = "headrace-sync"
)
