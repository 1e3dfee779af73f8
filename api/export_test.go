package api

// Paths lists the templates of every path that the router knows.
func (s *Server) Paths() []string { return paths(s.board.router(s.operations())) }
