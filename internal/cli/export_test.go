package cli

import "runtime/debug"

// CommitOf is the commit of a build.
func CommitOf(info *debug.BuildInfo) string { return commitOf(info) }
