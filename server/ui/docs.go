package ui

// Docs is what the page about the API shows.
type Docs struct {
	API, Rest                                        []Route
	MaxBody                                          int64
	MaxResults, MaxRetrieve, MaxAttestations         int
	HeaderAttestation, HeaderComplete, HeaderTrimmed string
	Conflict                                         bool // duplicates are answered 409
}

// Route is a row of the server's route table.
type Route struct{ Method, Path, Summary string }

// Docs renders the page about the API.
func (p *Pages) Docs(r Request, d Docs) ([]byte, error) { return p.render(r, "docs", "The API", d) }

// Problem is why there is no other page.
type Problem struct {
	Status  int
	Title   string // "Not found"
	Message string // a sentence or two; may quote what the asker sent
	// Request is the ID under which the server's log has it.
	Request string
	Form    formView
}

// Problem renders an error page.
func (p *Pages) Problem(r Request, e Problem) ([]byte, error) {
	e.Message, e.Form = line(e.Message, maxWhole), p.form(nil)
	return p.render(r, "problem", e.Title, e)
}
