package command

import "encoding/binary"

// JoinBatch adds to b the encoding of a batch of proposals that were encoded one by one with
// AppendProposal, possibly by other members, and returns it. The result is what AppendBatch
// would have written for them. Each must begin with this codec Version.
func JoinBatch(b []byte, timeMS int64, encoded [][]byte) []byte {
	b = append(b, Version)
	b = binary.AppendVarint(b, timeMS)
	b = binary.AppendUvarint(b, uint64(len(encoded)))
	for _, p := range encoded {
		b = append(b, p[1:]...)
	}
	return b
}
