// SPDX-License-Identifier: Apache-2.0

package slo

import (
	"slices"

	"github.com/tcpslo/tcpslo/exporter/strictyaml"
)

// AbortPolicy says what a request is to an objective whose client had gone before the
// handler returned: net/http has cancelled its context (net/http.Request.Context).
type AbortPolicy int

// The policies. Any but the first one judges such a request whatever was answered, and however
// long it took: handlers that notice give up by a status of their own, or by a panic.
const (
	JudgeAborts  AbortPolicy = iota // as any other request, by status and duration
	AbortsGood                      // good
	AbortsBad                       // bad
	IgnoreAborts                    // no event
)

// abortPolicies are the words for them in tcpslo.yml.
var abortPolicies = []string{"judge", "good", "bad", "ignore"}

// String is the word for the policy in tcpslo.yml.
func (p AbortPolicy) String() string { return abortPolicies[p] }

// UnmarshalNode reads the word for a policy.
func (p *AbortPolicy) UnmarshalNode(n *strictyaml.Node) error {
	var word string
	if err := n.Decode(&word); err != nil {
		return err
	}
	i := slices.Index(abortPolicies, word)
	if i < 0 {
		return n.Errorf("unknown policy %q%s", word, strictyaml.Suggest(word, abortPolicies))
	}
	*p = AbortPolicy(i)
	return nil
}

// verdict is what an aborted request is, where it is not judged as any other.
func (p AbortPolicy) verdict() Verdict {
	switch p {
	case AbortsGood:
		return Good
	case AbortsBad:
		return Bad
	}
	return NoEvent
}
