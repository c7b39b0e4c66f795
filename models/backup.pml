/* Backup, restore and revisions (pkg/tools/backup, pkg/etcd/tools.go): two members of etcd, one of which lags; a backup is a snapshot
   of one member; a restore starts etcd from one of two backups at a raised revision, all below it compacted. A watch from a compacted
   revision ends with 410 Gone and its client lists again. One tick of the clock has at most RATE writes (writesPerSecond).
   forward: no client has seen a revision that a restored etcd does not call compacted: it never takes an old object for a new one,
   and never waits for a revision to come back. whole: a backup has every write that was acknowledged before it began.
   Mutants: M1 M2 M3 M4
   M1 the bump is added to the revision of the backup: after restores of A, then of a backup B made since, A ends below what was seen
   M2 the bump is constant: a second restore of the same backup hands out the revisions of the first again
   M3 the snapshot is of a member that was not asked for a linearizable read first
   M4 what is below the restored revision is not marked compacted
   Found: M1 was what the code did before this model (revisionBump, and BUMP of docs/operations.md). */
#define TICKS 4
#define RATE 2
#define LEAST 1                /* leastBump */
byte now = 1;                  /* the clock, in ticks since the epoch */
byte left = RATE;              /* writes that this tick still has room for */
byte revision = 1;             /* of etcd: the last acknowledged write; member 0 has applied it */
byte applied = 1;              /* the last write that member 1 has applied */
byte compacted = 0;            /* a watch from a revision up to here gets 410 Gone */
byte seen = 1;                 /* the highest revision that any client was ever told */
byte backup[2];                /* revision of a backup; 0 = not made */
bool backwards, incomplete;
#if defined(M1)
#define restored (backup[b] + LEAST + RATE * now)
#elif defined(M2)
#define restored (backup[b] + RATE)
#else                          /* by the clock alone: no etcd can have come so far by itself since the epoch */
#define restored (LEAST + RATE * now)
#endif

active proctype Etcd() {
  do
  :: atomic { left > 0 -> left--; revision++; seen = revision }        /* a write through the leader, acknowledged and watched */
  :: atomic { applied < revision -> applied++ }                        /* the other member follows */
  :: atomic { now < TICKS -> now++; left = RATE }
  od
}
active proctype Backup() {
  byte b, before;
  do
  :: if :: b = 0 :: b = 1 fi;
     if                                                                /* it begins; writes go on */
     :: before = revision; atomic { backup[b] = revision; incomplete = incomplete || backup[b] < before }   /* of member 0 */
     :: before = revision;
#ifndef M3
        (applied >= before);                                           /* OpenMember: its answer was a linearizable read */
#endif
        atomic { backup[b] = applied; incomplete = incomplete || backup[b] < before }
     fi
  od
}
active proctype Restore() {
  byte b;
  do
  :: atomic { now < TICKS -> now++; left = RATE;                       /* etcd is stopped, which takes a tick */
       if :: b = 0 :: b = 1 fi;
       if
       :: backup[b] != 0 -> revision = restored; applied = revision;
#ifndef M4
          compacted = revision;
#endif
          backwards = backwards || seen > compacted; seen = (seen > revision -> seen : revision)
       :: else
       fi }
  od
}
ltl safe { [] (!backwards && !incomplete) }
/* spin -a [-DMx] backup.pml && gcc -O2 -o pan pan.c && ./pan -a -m100000 -N safe */
