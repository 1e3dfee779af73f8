package parcel

import (
	"math"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/budget"
)

// What fuzz targets need of the inside.

// Parcels is one end of transfers without a connection.
type Parcels struct{ p *Depot }

// NewParcels makes one.
func NewParcels() Parcels { return Parcels{New("end", nil, budget.New(math.MaxInt64))} }

// AskFor is the ask for a piece.
func AskFor(id uint64, offset, size int64) []byte {
	return askFor(&link.ParcelRef{ID: id}, offset, size)
}

// Hold keeps segments, as parcel number 1 of a new end.
func (p Parcels) Hold(segments [][]byte, size int64) uint64 { return p.p.Hold(segments, size, nil).ID }

// Ask hands the end an ask for a piece.
func (p Parcels) Ask(data []byte) { p.p.answer(&nats.Msg{Data: data}) }

// Held counts parcels.
func (p Parcels) Held() int { return p.p.Count() }

// Slice is the piece of a parcel that an ask for offset and size gets.
func (p Parcels) Slice(id uint64, offset, size int64) []byte { return p.p.held[id].slice(offset, size) }

// Take hands the end a piece of a transfer of size bytes; it gives the buffer, the number of the piece that
// arrived or -1, and the failure.
func (p Parcels) Take(size int, status string, data []byte) (buf []byte, piece int, err error) {
	t := &transfer{buf: make([]byte, size), arrived: make(chan int, 1), failed: make(chan error, 1)}
	p.p.transfers[7] = t
	msg := &nats.Msg{Subject: link.PrefixPieces + p.p.id + ".7", Data: data}
	if status != "" {
		msg.Header = nats.Header{"Status": []string{status}}
	}
	p.p.take(msg)
	piece = -1
	select {
	case piece = <-t.arrived:
	case err = <-t.failed:
	default:
	}
	return t.buf, piece, err
}
