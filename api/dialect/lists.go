package dialect

import (
	"headrace/internal/inference"
)

// pageSize is how many entries a page of MLflow's lists has.
const pageSize = 3000

// appendRoute writes a route as MLflow's routes list shows it. `limit` came with endpoints.
func appendRoute(out *Output, r *inference.Route) {
	appendEntry(out, r, "route")
	if r.Family == inference.Endpoints {
		appendLimit(out, r.Limit)
	}
	out.text(`}`)
}

// appendEndpoint writes a route as MLflow's endpoints list shows it.
func appendEndpoint(out *Output, r *inference.Route) {
	appendEntry(out, r, "endpoint")
	appendLimit(out, r.Limit)
	out.text(`}`)
}

// appendEntry writes what both lists show; kind begins the names of their members.
func appendEntry(out *Output, r *inference.Route, kind string) {
	out.text(`{"name":`)
	out.quoted(r.Name)
	out.text(`,"` + kind + `_type":`)
	out.quoted(string(r.Type))
	out.text(`,"model":{"name":`)
	if r.Model == "" {
		out.text(`null`)
	} else {
		out.quoted(r.Model)
	}
	out.text(`,"provider":`)
	out.quoted(r.Provider)
	out.text(`},"` + kind + `_url":`)
	out.quoted("/gateway/" + r.Name + "/invocations")
}

func appendLimit(out *Output, l *inference.Limit) {
	if l == nil {
		out.text(`,"limit":null`)
		return
	}
	out.text(`,"limit":{"calls":`)
	out.number(int64(l.Calls))
	out.text(`,"key":`)
	if l.Key == "" {
		out.text(`null`)
	} else {
		out.quoted(l.Key)
	}
	out.text(`,"renewal_period":`)
	out.quoted(l.Period)
	out.text(`}`)
}

// Listing is one of MLflow's two lists of routes.
type Listing struct {
	Word  string                                // for an entry
	Entry func(out *Output, r *inference.Route) // writes one
}

// RoutesListing is the list of MLflow 2.5 to 2.8.
func RoutesListing() Listing { return Listing{"route", appendRoute} }

// EndpointsListing is the list of MLflow 2.9 and later.
func EndpointsListing() Listing { return Listing{"endpoint", appendEndpoint} }

// Page writes up to 3,000 entries of table, from the index from on, and the token of the page behind them.
func (l Listing) Page(out *Output, table *inference.Table, from int) {
	out.text(`{"` + l.Word + `s":[`)
	i := 0
	for route := range table.All() {
		if i >= from && i-from < pageSize {
			comma(out, i-from)
			l.Entry(out, route)
		}
		i++
	}
	out.text(`],"next_page_token":`)
	if table.Len()-from > pageSize {
		out.quoted(pageToken(from + pageSize))
	} else {
		out.text(`null`)
	}
	out.text(`}`)
}

// AppendTrafficRoute writes a split as MLflow 3 shows it.
func AppendTrafficRoute(out *Output, split *inference.Split) {
	out.text(`{"name":`)
	out.quoted(split.Name)
	out.text(`,"task_type":`)
	out.quoted(string(split.Type))
	out.text(`,"destinations":[`)
	for i, d := range split.Destinations {
		comma(out, i)
		out.text(`{"name":`)
		out.quoted(d.Route)
		out.text(`,"traffic_percentage":`)
		out.number(int64(d.Percent))
		out.text(`}`)
	}
	out.text(`],"routing_strategy":"TRAFFIC_SPLIT"}`)
}
