// Package mlflowtest stands in for MLflow in tests: a scripted model server on loopback, and recordings of
// what real MLflow gateways did. Production files never import it.
package mlflowtest
