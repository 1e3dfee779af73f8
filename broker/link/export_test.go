package link

// What tests of Follow need.
const SubjectElected = subjectElected

// ErrReused ends a Follow whose stream may have given numbers a second time.
var ErrReused = errReused
