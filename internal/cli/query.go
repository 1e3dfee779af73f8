package cli

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"headrace/internal/client"
)

func (s *shell) queryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "query ROUTE [TEXT...]", Short: "Make one call and print the answer",
		Long: "Make one call and print the answer. Texts are sent as the route's type wants them; --data sends a body of your own.",
		Example: "  headrace query embeddings \"Hello\" \"world\"\n  headrace query iris --data '{\"inputs\": [[5.1, 3.5, 1.4, 0.2]]}'\n" +
			"  headrace query chat --data @body.json",
	}
	c := gatewayFlag(cmd)
	data := cmd.Flags().String("data", "", "the body to send, as `JSON`; @FILE reads it from a file, - from standard input")
	cmd.ValidArgsFunction = c.routeNames
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrong(cmd, "name a route: headrace query ROUTE [TEXT...]")
		}
		route, texts := args[0], args[1:]
		if (*data == "") == (len(texts) == 0) {
			return wrong(cmd, "give either texts or --data")
		}
		if err := c.open(); err != nil {
			return err
		}
		ctx := cmd.Context()
		body, err := s.body(*data)
		if len(texts) > 0 {
			body, err = c.BodyOf(ctx, route, texts)
		}
		if client.IsNotFound(err) {
			err = hinted(err, "`headrace routes` lists what there is")
		}
		if err != nil {
			return unlessInterrupted(ctx, err)
		}
		_, answer, err := c.Ask(ctx, http.MethodPost, "/v1/routes/"+url.PathEscape(route)+"/invocations", body)
		if err != nil {
			return unlessInterrupted(ctx, err)
		}
		if _, err := s.Out.Write(append(bytes.TrimRight(answer, "\n"), '\n')); err != nil {
			return fmt.Errorf("printing the answer: %w", err)
		}
		return nil
	}
	return cmd
}
