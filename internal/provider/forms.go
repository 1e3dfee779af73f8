package provider

import "headrace/internal/inference"

// Former is what a provider implements beside Provider when model servers of one kind want to be asked in different
// forms, and tell which when they are asked in a wrong one. Forms are the provider's own words. Provider.Encode is
// EncodeAs in the form that Form names, and Provider.Decode reads Reply.Form.
type Former interface {
	// Form is how a route's model server is asked as long as nothing is known of it. ask says whether it is to be
	// recognised before it is asked anything, settled that nothing is to be learned.
	Form(route *inference.Route) (form string, ask, settled bool)
	// Fits says whether a route can ask in a form that was learned on another one of the same model server.
	Fits(route *inference.Route, form string) bool
	// EncodeAs makes the call in a form. Invalid: the form cannot say what is asked.
	EncodeAs(route *inference.Route, req *inference.Request, form string) (Call, error)
	// Wanted is the form that a reply names; "" when it names none, and refused says then whether it refuses the form of
	// the call all the same. A model that names a form, or refuses one, has not run.
	Wanted(reply Reply) (form string, refused bool)
	// Probe makes the calls by which a model server is recognised with Wanted, in this order, until one tells. A model
	// without a signature runs with the last one, so it is sent to a model server once.
	Probe() []Call
}
