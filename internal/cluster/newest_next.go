//go:build okapi_nextlevel

package cluster

// FeatureNewest is one higher than it is, and brings nothing: a program that is built so stands for the next release in the test of rolling
// upgrades (test/upgrade), and is for nothing else. What raises FeatureNewest raises it here too.
const FeatureNewest = Feature1 + 1
