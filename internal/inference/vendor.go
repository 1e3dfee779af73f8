package inference

// Vendor is how the model of a route is asked that does not run behind a model server of MLflow: over the API of a vendor, or
// of a server that speaks it. It is immutable.
type Vendor struct {
	API VendorAPI
	// Key is the credential; "" sends none. It is known to workers only.
	Key Secret
	// Version is `api-version` of OpenAI's, "" = none, and the header anthropic-version of Anthropic's.
	Version string

	// Azure is how Azure's models of OpenAI are asked; "" = OpenAI itself, or a server that speaks like it.
	Azure AzureAuth
	// Deployment is the name of Azure's, which stands in the path; "" = the model stands in the body.
	Deployment string
	// Organization is OpenAI's; "" = the key's own.
	Organization string
	// CompletionsByChat asks a completions route as a chat of one message: most models of today have no completions.
	CompletionsByChat bool

	// MaxTokens stands in for a limit that the caller does not give, where the API wants one.
	MaxTokens int
	// Sampling says what becomes of temperature, top_p and top_k.
	Sampling Sampling
}

// VendorAPI is the API that a vendor's model is asked by.
type VendorAPI string

// The APIs.
const (
	OpenAIAPI    VendorAPI = "openai"
	AnthropicAPI VendorAPI = "anthropic"
)

// AzureAuth is how Azure is told who asks.
type AzureAuth string

// The two ways: a key of the resource, and a token of Entra ID.
const (
	AzureKey   AzureAuth = "azure"
	AzureToken AzureAuth = "azuread"
)

// Sampling says what becomes of parameters that a model may refuse.
type Sampling string

// The ways.
const (
	SamplingPass   Sampling = "pass"   // they are sent
	SamplingDrop   Sampling = "drop"   // they are left out, and named in the reply
	SamplingRefuse Sampling = "refuse" // the call is refused
)

// MaxTemperature is the end of the range of temperatures that the API takes, which begins at 0.
func (v *Vendor) MaxTemperature() float64 {
	if v.API == AnthropicAPI {
		return 1
	}
	return 2
}
