package wal

// SealHeaderForTest gives a changed segment header a checksum that holds.
func SealHeaderForTest(raw []byte) { headerSeeder.seal(raw[:sectorBytes], 0, kindHead) }
