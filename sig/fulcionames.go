package sig

import "strconv"

// FulcioNames returns the extensions of Fulcio's that are known here, with their object
// identifiers and names and without values, by number.
func FulcioNames() []Extension {
	var all []Extension
	for n, name := range fulcioNames {
		if name != "" {
			all = append(all, Extension{OID: oidFulcio + strconv.Itoa(n), Name: name})
		}
	}
	return all
}
