package server

import (
	"net/http"
	"strconv"
	"strings"
)

// negotiate returns the media type of the offers that the Accept headers like
// best, the first one if they like several equally or there are none, and "" if
// they like none (RFC 9110, section 12.5.1, as go-openapi reads it: a type with
// quality 0 is not refused where a wildcard allows it).
func negotiate(accept []string, offers ...string) string {
	best, bestQ, bestFit := "", 0.0, 0
	ranges := false
	for _, header := range accept {
		for item := range strings.SplitSeq(header, ",") {
			kind, q := mediaRange(item)
			if kind == "" {
				continue
			}
			ranges = true
			for _, offer := range offers {
				fit := fitOf(kind, offer)
				if q > 0 && fit > 0 && (q > bestQ || q == bestQ && fit > bestFit) {
					best, bestQ, bestFit = offer, q, fit
				}
			}
		}
	}
	if !ranges {
		return offers[0]
	}
	return best
}

// mediaRange reads one item of an Accept header. A quality that is not a number
// from 0 to 1 counts as 1.
func mediaRange(item string) (kind string, q float64) {
	kind, params, _ := strings.Cut(item, ";")
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q <= 1 {
				return strings.ToLower(strings.TrimSpace(kind)), q
			}
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), 1
}

// fitOf says how closely a media range names a type: 3 exactly, 2 by its first
// part, 1 as any type, 0 not at all.
func fitOf(kind, offer string) int {
	prefix, wild := strings.CutSuffix(kind, "*")
	switch {
	case kind == offer:
		return 3
	case kind == "*/*":
		return 1
	case wild && strings.HasSuffix(prefix, "/") && strings.HasPrefix(offer, prefix):
		return 2
	}
	return 0
}

// checkContentType refuses a body that is not declared to be JSON. Parameters,
// such as charset, are ignored, whatever their form.
func checkContentType(h http.Header) error {
	declared := h.Get("Content-Type")
	if declared == typeJSON {
		return nil
	}
	if declared == "" {
		declared = "application/octet-stream"
	}
	kind, _, _ := strings.Cut(declared, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != typeJSON {
		return refuse(http.StatusUnsupportedMediaType,
			"unsupported media type %q, only [%s] are allowed", cut(kind, 100), typeJSON)
	}
	return nil
}
