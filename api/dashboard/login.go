package dashboard

import (
	"net/http"
	"strings"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// loginView is the form for the token, or why there is none.
type loginView struct {
	Problem string
	Form    bool
}

const loginPath = Root + "/login"

// guarded lets in who may; others get the form. What is embedded is no secret.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == loginPath:
			s.login(w, r)
		case r.URL.Path == Root+"/logout" && r.Method == http.MethodPost:
			http.SetCookie(w, s.Guard.Logout())
			http.Redirect(w, r, loginPath, http.StatusSeeOther)
		case strings.HasPrefix(r.URL.Path, Root+"/assets/"):
			next.ServeHTTP(w, r)
		default:
			if err := s.Guard.AdmitBrowser(r); err != nil {
				problem := ""
				if !s.Guard.Known() {
					problem = fault.From(err).Message
				}
				s.askToken(w, r, http.StatusUnauthorized, problem)
				return
			}
			next.ServeHTTP(w, r)
		}
	})
}

// login answers the form.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		const mostForm = 4 << 10
		r.Body = http.MaxBytesReader(w, r.Body, mostForm)
		cookie, err := s.Guard.Login(r.PostFormValue("token"))
		if err != nil {
			f := fault.From(err)
			if f.RetryAfter > 0 {
				w.Header().Set("Retry-After", problem.WholeSeconds(f.RetryAfter))
			}
			s.Log.WarnContext(r.Context(), "a login to the dashboard was refused", "remote", r.RemoteAddr, "code", string(f.Code))
			s.askToken(w, r, problem.MeaningOf(problem.Headrace, f).Status, f.Message)
			return
		}
		s.Log.InfoContext(r.Context(), "a login to the dashboard", "remote", r.RemoteAddr)
		http.SetCookie(w, cookie)
		http.Redirect(w, r, loginPath+"?kept", http.StatusSeeOther)
		return
	}
	if s.Guard.AdmitBrowser(r) == nil {
		http.Redirect(w, r, Root, http.StatusSeeOther)
		return
	}
	text := ""
	if r.URL.Query().Has("kept") {
		text = "The token was right, but this browser did not keep the login: it does so only over HTTPS, or on this machine. Put a proxy that speaks TLS in front of Headrace."
	}
	s.askToken(w, r, http.StatusOK, text)
}

func (s *Server) askToken(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.write(w, r, status, "login", frame{Title: "Log in", View: loginView{Problem: problem, Form: s.Guard.Known()}})
}
