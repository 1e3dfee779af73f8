package parcel_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"headrace/broker/link"
	"headrace/broker/parcel"
)

func FuzzParcelAsk(f *testing.F) {
	f.Add(parcel.AskFor(1, 0, 10), []byte("0123456789"), 3, int64(0), int64(10))
	f.Add(parcel.AskFor(1, 0, 0), []byte("0123456789"), 10, int64(5), int64(5))
	f.Add(parcel.AskFor(1, 1<<62, parcel.PieceSize+1), []byte("0123456789"), 0, int64(9), int64(2))
	f.Add(parcel.AskFor(1, -1, -1), []byte("x"), 1, int64(1)<<62, int64(1)<<62)
	f.Fuzz(func(t *testing.T, ask, whole []byte, cut int, offset, size int64) {
		p := parcel.NewParcels()
		cut = min(max(cut, 0), len(whole))
		id := p.Hold([][]byte{whole[:cut], whole[cut:]}, int64(len(whole)))
		size = min(size, parcel.PieceSize) // more is refused before
		offset &= 1<<62 - 1
		got := p.Slice(id, offset, size)
		if inside := size > 0 && offset+size <= int64(len(whole)); inside != (got != nil) {
			t.Fatalf("%d bytes from %d on of %d: %d", size, offset, len(whole), len(got))
		} else if inside && !bytes.Equal(got, whole[offset:offset+size]) {
			t.Fatalf("got %q, want %q", got, whole[offset:offset+size])
		}
		p.Ask(ask)
		if p.Held() == 0 && !bytes.HasPrefix(ask, []byte{1}) {
			t.Fatalf("%x dropped the parcel", ask)
		}
	})
}

func FuzzParcelPiece(f *testing.F) {
	f.Add(10, "", []byte("\x000123456789"))
	f.Add(parcel.PieceSize+3, "", []byte("\x01abc"))
	f.Add(parcel.PieceSize, "", []byte("\x01"))
	f.Add(5, "503", []byte(nil))
	for _, n := range hostile() {
		f.Add(5, "", n)
	}
	f.Add(5, "", append(binary.AppendUvarint(nil, 1<<46), "01234"...)) // whose offset wraps around to 0
	f.Fuzz(func(t *testing.T, size int, status string, data []byte) {
		size &= 1<<20 - 1
		buf, piece, err := parcel.NewParcels().Take(size, status, data)
		if len(buf) != size {
			t.Fatalf("the buffer has %d bytes, want %d", len(buf), size)
		}
		if piece < 0 || err != nil {
			if bytes.Count(buf, []byte{0}) != size {
				t.Fatal("a refused piece was written")
			}
			return
		}
		number, head := binary.Uvarint(data)
		at := piece * parcel.PieceSize
		if number != uint64(piece) || !bytes.Equal(buf[at:min(at+parcel.PieceSize, size)], data[head:]) {
			t.Fatalf("piece %d is not what came", piece)
		}
	})
}

// hostile are numbers where a reader's checks could be wrong.
func hostile() [][]byte {
	var all [][]byte
	for _, n := range []uint64{1, 1 << 7, link.MaxParts, link.MaxParts + 1, 1<<32 - 1, 1 << 32, 1 << 40, 1<<62 + 1, 1<<64 - 1} {
		all = append(all, binary.AppendUvarint(nil, n))
	}
	return append(all, bytes.Repeat([]byte{0xff}, 11), nil)
}
