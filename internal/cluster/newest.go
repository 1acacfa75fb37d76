//go:build !okapi_nextlevel

package cluster

// FeatureNewest is the highest level that this binary can run at.
const FeatureNewest = Feature1
