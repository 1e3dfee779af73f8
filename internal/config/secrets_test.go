package config_test

import (
	"errors"
	"strings"
	"testing"

	"headrace/internal/config"
)

// A file that is no TOML is complained of in the log, wherever it is broken, and the complaint holds none of its values.
func TestSyntaxErrorsShowNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "s3cretvalue"
	for _, line := range []string{
		`password = s3cretvalue`, `password = "s3cretvalue`, `password = 's3cretvalue`, `password = "s3cretvalue" "s3cretvalue"`,
		`password = trues3cretvalue`, `password = "\q s3cretvalue"`, `password = "\us3cretvalue"`, `password = [s3cretvalue`,
		`password = {a = s3cretvalue`, `password = """s3cretvalue`, `password s3cretvalue`, `password = 1s3cretvalue`, `= s3cretvalue`,
		"password = \"s3cretvalue\"\npassword = \"s3cretvalue\"", "password = \"s3cretvalue\"\n[password]\na = 1", `s3cretvalue`,
	} {
		_, err := config.Parse("g.toml", []byte("[broker]\nuser = \"a\"\n"+line+"\n"))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", line, err)
		}
	}
	for line, want := range map[string]string{
		"password = 99999999999999999999": "g.toml:2: the number is out of range for int64",
		"password = 2024-99-88":           "g.toml:2: invalid datetime: ...",
		"password = 0123456":              "g.toml:2: Invalid integer ...: cannot have leading zeroes",
		"[a]\na = 1\na = 2":               "g.toml:4: Key 'a.a' has already been defined.",
		"a = !":                           "g.toml:2: expected value but found '!' instead",
	} {
		_, err := config.Parse("g.toml", []byte("[broker]\n"+line+"\n"))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
}

// An address, also a wrong one, is shown without its query, and a secret that stands where the name of a file belongs is
// not shown.
func TestProblemsShowNoQueryAndNoInlineFile(t *testing.T) {
	t.Parallel()
	text := edit(`"http://h:1"`, `["http://h:1/?token=s3cret", "http://h:1/?token=s3cret", "http://u:p@h/?s3cret", "h?s3cret", "http://h:bad?s3cret"]`)
	_, err := config.Parse("g.toml", []byte("[broker]\nurl = \"nats://h:nine?s3cret\"\ncredentials = \"\"\"-----BEGIN\ns3cret\n\"\"\"\n"+text))
	invalid, ok := errors.AsType[*config.InvalidError](err)
	if !ok || len(invalid.Problems) < 5 || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("got %v", err)
	}
	for _, shown := range []string{`"http://h:1/?..." is listed twice`, `"http://...@h/?..." must not hold a password`, `"nats://h:nine?..." is not`, "this is not the name of a file"} {
		if !strings.Contains(err.Error(), shown) {
			t.Errorf("%s is not shown:\n%v", shown, err)
		}
	}
}
