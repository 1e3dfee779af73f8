package link_test

import (
	"strconv"
	"strings"
	"testing"

	"headrace/broker/link"
)

func FuzzNames(f *testing.F) {
	f.Add("emb.v1", "emb_2ev1")
	f.Add("INFER_1", "INFER_01")
	f.Add("", "é*>")
	f.Add("INFER_-0", "INFER_16")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := link.Token(a), link.Token(b)
		if (a == b) != (x == y) {
			t.Fatalf("%q and %q are called %q and %q", a, b, x, y)
		}
		if len(x) > 3*len(a) || strings.ContainsAny(x, ".*> \t\r\n/\\") {
			t.Fatalf("%q is no token", x)
		}
		if shard, ok := link.ShardOfStream(a); ok && (shard < 0 || shard >= link.Shards || a != "INFER_"+strconv.Itoa(shard)) {
			t.Fatalf("%q is taken for shard %d", a, shard)
		}
	})
}
