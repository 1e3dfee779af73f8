// Package parcel moves bytes that are too large for a message: the holder keeps them, the receiver pulls them in pieces.
//
// It owns what is held, and the pieces on their way; what a receiver pulls is reserved in its budget first. Begin with
// Depot: Hold and Lend on the holder's side, Pull on the receiver's.
package parcel
