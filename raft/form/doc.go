// Package form decides how the controllers that a configuration names become one group, once.
//
// # What it does not do
//
// It opens no connection, writes no file and has no clock: [Next] is a function of what this controller has durably and of what the others
// answered. [Run] asks and saves through functions that it is given.
//
// # The agreement
//
// Each controller has a directory with an id that is new for an empty disk. A view is the list of controllers with those ids. A controller is
//
//	unformed --> prepared(view) --> formed(view), for good
//	                 |  ^
//	                 +--+ another view, as long as nobody is known to have formed
//
// It asks all the others in rounds, and does in each round one of these:
//
//	somebody formed a view with this directory in it           form that view
//	somebody formed a view without this directory              rejoin: never found a group, ask its leader for a learner's place
//	all answered, none formed, own state is not their view     prepare their view
//	all answered and all, itself too, prepared the same view   form it
//	anything else                                              wait, and ask again
//
// # Invariants
//
//  1. What a controller answers is durable there. What it decides on are answers to requests that it sent after its own state was durable, and
//     its state does not change from the first request of a round to the decision.
//  2. At most one view is formed by directories that live. Say X formed V by a round, and Z formed W, and each is in the other's view. X saw Z
//     prepared for V, so that was before Z's last round for W began; Z saw X prepared for W, so that was before X's last round for V began. Each of
//     the two came before the other: impossible. If X is not in W, its directory was gone before W was prepared, and it founded nothing: no other had
//     formed V, so it had no majority.
//  3. A directory that was replaced does not come back: an operator must not put the old disk in again. (Groups that met anyway would refuse each
//     other, see [View.Group].)
//  4. An empty directory forms nothing while any other controller that it must ask has formed or does not answer.
package form
