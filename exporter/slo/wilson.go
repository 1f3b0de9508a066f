// SPDX-License-Identifier: Apache-2.0

package slo

import "math"

// Z is how many standard deviations WilsonLowerBound is below the ratio that was seen:
// 95 of 100 times the true ratio is above the bound.
const Z = 1.64

// WilsonLowerBound returns the smallest true ratio that explains a ratio seen in some
// events (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
// Journal of the American Statistical Association 22, 1927). With few events it is far
// below: of two requests one failed is no proof that half of them fail. ratio is between
// 0 and 1, events not negative; of none nothing is known, and the bound is 0.
//
// It is the usual formula, written so that nothing is divided by few events and no two
// numbers that are much the same are subtracted; rounding alone could take it above the ratio.
func WilsonLowerBound(ratio, events float64) float64 {
	seen := ratio * events
	return min(ratio, seen*ratio/(seen+Z*Z/2+Z*math.Sqrt(seen*(1-ratio)+Z*Z/4)))
}
