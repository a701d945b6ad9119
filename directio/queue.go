package directio

// Piece is a part of a file to be read, and the memory to read it into. Both must be [Aligned].
type Piece struct {
	Bytes []byte
	At    int64
	N     int // how many bytes were read, from the first on; 0 where that failed
}
