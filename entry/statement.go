package entry

import (
	"strings"

	"github.com/tallystick/tallystick/tlog"
)

// statementTypes is what the types of in-toto statements begin with.
const statementTypes = "https://in-toto.io/Statement/"

// StatementKeys returns the search keys that follow from the payload of an intoto or
// dsse entry: the digests of a statement's subjects and materials. A payload that is no
// in-toto statement, by its _type, has none.
func StatementKeys(payload []byte) []tlog.Key {
	isStatement := false
	r := lenient(payload)
	err := r.Object(func(name []byte) error {
		if string(name) != "_type" {
			return nil
		}
		text, err := r.Text()
		isStatement = strings.HasPrefix(string(text), statementTypes)
		return err
	})
	if err != nil || !isStatement {
		return nil
	}
	var keys keySet
	keys.statement(inTotoType, payload)
	return keys.keys
}
