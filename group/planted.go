package group

// planted are mistakes that only tests make, to see that they are found.
type planted struct {
	epochIgnored      bool // who speaks of another epoch or generation is heard
	takenAtOnce       bool // a partition is free before its owner said that it gave it up
	ownersIgnored     bool // a partition is assigned though another member owns it
	epochKept         bool // who gave up partitions stays in its epoch while it has to give up more
	generationAgain   bool // the next generation has the number of the last one
	removalNotWritten bool // that a member is out is not written down
	snapshotForgets   bool // a snapshot does not have what members have yet to give up
	membersExpire     bool // offsets are forgotten though the group has members
	topicsIgnored     bool // nobody looks at topics that have changed
	sessionsForEver   bool // who is silent stays a member
}
