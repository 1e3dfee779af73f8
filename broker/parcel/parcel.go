package parcel

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/budget"
)

const (
	// PieceSize is what one message of a parcel carries.
	PieceSize = 256 << 10
	// window is how many pieces of one parcel are on their way at a time. Its 1 MiB is far below the size at which the server
	// cuts off a connection, and keeps the pipe of a fast network full.
	window = 4
	// piecesInFlight bounds the pieces on their way to one process, over all its parcels.
	piecesInFlight = 8
	// maxAsks bounds the requests for pieces that are not answered yet, in bytes: tens of thousands of requests.
	maxAsks = 4 << 20
	// pieceTimeout is how long a piece may take before it is requested again.
	pieceTimeout = 5 * time.Second
	// parcelIdle is how long a holder keeps a parcel that is not pulled.
	parcelIdle = 30 * time.Second
)

var (
	errParcelGone   = errors.New("its holder no longer has it")
	errHolderLost   = errors.New("its holder is gone")
	errPieceTimeout = errors.New("its holder does not answer")
	errDigest       = errors.New("its digest is wrong")
)

// parcel is bytes that this process keeps for another one to pull.
type parcel struct {
	segments [][]byte
	size     int64
	lent     bool      // whether it is dropped when it is not pulled
	touched  time.Time // last pull; guarded by parcels.mu
	release  func()    // called once, when the parcel is dropped
}

// digestOf is the CRC-32C of all segments. It detects a piece in the wrong place or damaged on its way, and costs about as
// much as reading memory. It yields after each piece, so that hashing many megabytes does not delay small calls.
func digestOf(segments [][]byte) uint32 {
	table, digest := crc32.MakeTable(crc32.Castagnoli), uint32(0)
	for _, s := range segments {
		for len(s) > 0 {
			n := min(len(s), PieceSize)
			digest = crc32.Update(digest, table, s[:n])
			if s = s[n:]; n == PieceSize {
				runtime.Gosched()
			}
		}
	}
	return digest
}

// slice copies size bytes from offset on; nil when some of them do not exist.
func (p *parcel) slice(offset, size int64) []byte {
	if offset < 0 || size <= 0 || offset+size > p.size {
		return nil
	}
	out := make([]byte, 0, size)
	for _, s := range p.segments {
		if offset >= int64(len(s)) {
			offset -= int64(len(s))
			continue
		}
		n := min(int64(len(s))-offset, size-int64(len(out)))
		out = append(out, s[offset:offset+n]...)
		if offset = 0; int64(len(out)) == size {
			break
		}
	}
	return out
}

// Depot is both ends of the transfer of large bodies: it holds this process's parcels for others, and pulls those of
// others. It uses a connection of its own, so that large messages do not delay small ones. The receiver sets the pace:
// it requests every piece.
type Depot struct {
	id     string // of this process's end
	nc     *nats.Conn
	budget *budget.Bytes
	flight chan struct{} // one token for each piece on its way to us
	last   atomic.Uint64 // number of the last parcel or transfer

	mu        sync.Mutex
	held      map[uint64]*parcel
	transfers map[uint64]*transfer
}

// transfer is one pull. The goroutine that serves the inbox copies the pieces into buf.
type transfer struct {
	arrived chan int // piece numbers
	buf     []byte
	failed  chan error // the first failure; capacity 1
}

// New returns a Depot that holds parcels under id, and reserves what it pulls in b. It answers after Open.
func New(id string, nc *nats.Conn, b *budget.Bytes) *Depot {
	return &Depot{
		id: id, nc: nc, budget: b, flight: make(chan struct{}, piecesInFlight),
		held: make(map[uint64]*parcel), transfers: make(map[uint64]*transfer),
	}
}

// Open starts to answer pulls and to take pieces, until the connection closes.
func (p *Depot) Open() error {
	asks, err := p.nc.Subscribe(link.PrefixParcels+p.id, p.answer)
	if err != nil {
		return fmt.Errorf("broker: parcels: %w", err)
	}
	pieces, err := p.nc.Subscribe(link.PrefixPieces+p.id+".*", p.take)
	if err != nil {
		return fmt.Errorf("broker: parcels: %w", err)
	}
	// The library drops what is beyond; its receiver asks for it once more.
	for sub, most := range map[*nats.Subscription]int{asks: maxAsks, pieces: 2 * piecesInFlight * (PieceSize + 1<<10)} {
		if err := sub.SetPendingLimits(-1, most); err != nil {
			return fmt.Errorf("broker: parcels: %w", err)
		}
	}
	return nil
}

// SweepUntil drops idle parcels until ctx ends.
func (p *Depot) SweepUntil(ctx context.Context) {
	tick := time.NewTicker(parcelIdle / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.sweep(now)
		}
	}
}

// sweep drops parcels that have not been pulled for parcelIdle: their receiver has died.
func (p *Depot) sweep(now time.Time) {
	p.mu.Lock()
	var idle []uint64
	for id, parcel := range p.held {
		if parcel.lent && now.Sub(parcel.touched) > parcelIdle {
			idle = append(idle, id)
		}
	}
	p.mu.Unlock()
	for _, id := range idle {
		p.Drop(id)
	}
}

// Hold keeps segments for another process until it has them or Drop is called. Then release is called, once.
func (p *Depot) Hold(segments [][]byte, size int64, release func()) *link.ParcelRef {
	return p.keep(&parcel{segments: segments, size: size, release: release})
}

// Lend is Hold for a parcel that this process will not Drop: it also ends when it was not pulled for parcelIdle.
func (p *Depot) Lend(segments [][]byte, size int64, release func()) *link.ParcelRef {
	return p.keep(&parcel{segments: segments, size: size, release: release, lent: true})
}

func (p *Depot) keep(kept *parcel) *link.ParcelRef {
	ref := &link.ParcelRef{Holder: p.id, ID: p.last.Add(1), Size: kept.size, Digest: digestOf(kept.segments)}
	kept.touched = time.Now()
	p.mu.Lock()
	p.held[ref.ID] = kept
	p.mu.Unlock()
	return ref
}

// KeepAlive counts as a pull, for a receiver that has not yet begun to pull. It reports whether the parcel is held.
func (p *Depot) KeepAlive(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	parcel := p.held[id]
	if parcel != nil {
		parcel.touched = time.Now()
	}
	return parcel != nil
}

// Drop forgets a parcel. Dropping it twice is safe.
func (p *Depot) Drop(id uint64) {
	p.mu.Lock()
	parcel := p.held[id]
	delete(p.held, id)
	p.mu.Unlock()
	if parcel != nil && parcel.release != nil {
		parcel.release()
	}
}

// Count returns the number of parcels held.
func (p *Depot) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}

// answer serves a request for parcel, offset and size; size 0 says that the receiver has everything. The first byte of the
// answer is 1 when the piece follows.
func (p *Depot) answer(msg *nats.Msg) {
	r := link.Reader{Rest: msg.Data}
	id, offset, size := r.Uint(), r.Uint(), r.Uint()
	if r.Done() != nil || size > PieceSize {
		return
	}
	if size == 0 {
		p.Drop(id)
		return
	}
	p.mu.Lock()
	parcel := p.held[id]
	if parcel != nil {
		parcel.touched = time.Now()
	}
	p.mu.Unlock()
	var w link.Writer
	w.Uint(offset / PieceSize)
	if parcel != nil {
		w.Tail = append(w.Tail, parcel.slice(int64(offset&(1<<62-1)), int64(size))...)
	}
	_ = msg.Respond(w.Tail) // the receiver asks again when nothing comes
}

// take receives one piece.
func (p *Depot) take(msg *nats.Msg) {
	_, tail, _ := strings.Cut(msg.Subject, link.PrefixPieces+p.id+".")
	id, err := strconv.ParseUint(tail, 36, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock() // so that the buffer stays ours until the copy is done
	t := p.transfers[id]
	if t == nil {
		return
	}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		t.fail(errHolderLost)
		return
	}
	r := link.Reader{Rest: msg.Data}
	piece := r.Uint()
	from := piece * PieceSize
	if r.Err != nil || piece > 1<<40 || from >= uint64(len(t.buf)) {
		return
	}
	want := t.buf[from:min(from+PieceSize, uint64(len(t.buf)))]
	if len(r.Rest) != len(want) {
		t.fail(errParcelGone)
		return
	}
	copy(want, r.Rest)
	select {
	case t.arrived <- int(piece):
	default: // a duplicate
	}
}

func (t *transfer) fail(err error) {
	select {
	case t.failed <- err:
	default:
	}
}

// Pull fetches a parcel and returns its bytes, which stay reserved in the budget until release is called. It first waits
// for the reservation, as long as ctx allows.
func (p *Depot) Pull(ctx context.Context, ref *link.ParcelRef) (data []byte, release func(), err error) {
	if err := p.budget.Reserve(ctx, ref.Size); err != nil {
		return nil, nil, fmt.Errorf("no room for %d bytes in max_inflight_bytes: %w", ref.Size, context.Cause(ctx))
	}
	release = sync.OnceFunc(func() { p.budget.Release(ref.Size) })
	data, err = p.fetch(ctx, ref)
	if err != nil {
		release()
		return nil, nil, fmt.Errorf("pulling %d bytes: %w", ref.Size, err)
	}
	return data, release, nil
}

func (p *Depot) fetch(ctx context.Context, ref *link.ParcelRef) ([]byte, error) {
	count := int((ref.Size + PieceSize - 1) / PieceSize)
	t := &transfer{buf: make([]byte, ref.Size), arrived: make(chan int, 16*window), failed: make(chan error, 1)}
	id := p.last.Add(1)
	p.mu.Lock()
	p.transfers[id] = t
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.transfers, id)
		p.mu.Unlock()
	}()
	pull := &pulling{Depot: p, transfer: t, ref: ref, inbox: link.PrefixPieces + p.id + "." + strconv.FormatUint(id, 36)}
	if err := pull.run(ctx, count); err != nil {
		return nil, err
	}
	_ = p.nc.Publish(link.PrefixParcels+ref.Holder, askFor(ref, 0, 0)) // the holder forgets it, now or when it is idle
	return t.buf, nil
}

// askFor is a request for a piece.
func askFor(ref *link.ParcelRef, offset, size int64) []byte {
	var w link.Writer
	w.Uint(ref.ID)
	w.Uint(uint64(offset))
	w.Uint(uint64(size))
	return w.Tail
}

// pulling is the state of one transfer, for the goroutine that pulls.
type pulling struct {
	*Depot

	transfer *transfer
	ref      *link.ParcelRef
	inbox    string
	waiting  map[int]struct{} // pieces asked for and not here
	here     int              // pieces that came
	retried  bool             // whether what is missing was requested twice
}

func (p *pulling) run(ctx context.Context, count int) error {
	p.waiting = make(map[int]struct{}, window)
	defer func() {
		for range p.waiting {
			<-p.flight
		}
	}()
	timer := time.NewTimer(pieceTimeout)
	defer timer.Stop()
	next := 0
	for p.here < count {
		var room chan struct{} // nil, which never sends, while the window is full
		if next < count && len(p.waiting) < window {
			room = p.flight
		}
		select {
		case room <- struct{}{}:
			p.waiting[next] = struct{}{}
			p.request(next)
			next++
		case piece := <-p.transfer.arrived:
			p.arrive(piece)
			timer.Reset(pieceTimeout)
		case err := <-p.transfer.failed:
			return err
		case <-timer.C:
			if err := p.askAgain(); err != nil {
				return err
			}
			timer.Reset(pieceTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if digestOf([][]byte{p.transfer.buf}) != p.ref.Digest {
		return errDigest
	}
	return nil
}

func (p *pulling) arrive(piece int) {
	p.retried = false
	if _, asked := p.waiting[piece]; asked {
		delete(p.waiting, piece)
		<-p.flight
		p.here++
	}
}

// askAgain requests missing pieces again, since a piece may be lost with a connection. The second time it gives up.
func (p *pulling) askAgain() error {
	if len(p.waiting) == 0 { // other transfers have all the tokens
		return nil
	}
	if p.retried {
		return errPieceTimeout
	}
	p.retried = true
	for piece := range p.waiting {
		p.request(piece)
	}
	return nil
}

func (p *pulling) request(piece int) {
	offset := int64(piece) * PieceSize
	ask := askFor(p.ref, offset, min(PieceSize, p.ref.Size-offset))
	_ = p.nc.PublishRequest(link.PrefixParcels+p.ref.Holder, p.inbox, ask) // a failure shows as a piece that does not come
}
