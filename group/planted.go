package group

// planted are mistakes that only tests make, to see that they are found.
type planted struct {
	epochIgnored  bool // who speaks of another epoch or generation is heard
	takenAtOnce   bool // a partition is free before its owner said that it gave it up
	ownersIgnored bool // a partition is assigned though another member owns it
	absentStay    bool // who has not joined a generation is in it all the same
}
