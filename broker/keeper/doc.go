// Package keeper makes the streams that other rooms describe, and gives lanes their consumers. It runs in the broker role and
// is the only owner of both.
//
// A stream has room for a bounded number of consumers, so lanes take turns: laneturns.go decides which lane yields. Begin
// with keeper.go for streams, lanekeeper.go for consumers.
package keeper
