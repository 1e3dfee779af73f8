package inference

import "net/url"

// PublicAddress is the address of a model server as logs, errors, metrics and listings may show it: without user, password,
// query and fragment, each of which may hold a secret. It is "" for an address that cannot be read.
func PublicAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
