/* The decrypt audit chain and its published head (pkg/decrypt/audit, --fsync always; HeadStore of pkg/decrypt): a writer appends lines
   and syncs them before it releases a value; a publisher writes the last durable line to etcd by compare-and-swap. A line is named by
   its number and its MAC, here the run of the server that wrote it: a run uses a number once. The attacker cuts the end of the log.
   recorded: a value is released only when its record is on disk. forward: the published number only rises.
   found: when a line that was a published head is not in the log, the log says so (a line cut-off or rewritten, a gap in the
   numbers), or lacks the head that is published now, which the next start and `audit verify --head` notice.
   Mutants: M1 M2 M3 M4
   M1 Advance replaces any head with a lower number, also one that is no line of this log: a transaction that a killed run left in
   flight lands after the cut and the restart, and the next head replaces it unseen
   M2 a value is released before the sync        M3 Advance does not compare        M4 a start does not load the published head
   Found: M1 was what the code did before this model. */
#define LINES 4
#define RUNS 3
byte file[LINES + 1];          /* the log: the run that wrote line i; 0 = there is no such line */
bool mark[LINES + 1];          /* line i is an opening with the reason cut-off or rewritten */
byte end = 0, synced = 0;      /* the last line of the log, and the last that survives the loss of power */
byte started = 1, head = 0, durable = 0;                   /* the run of the server now; its Log.head and Log.durable */
bool up = false;
byte number = 0, mac = 0;      /* etcd: the published head */
byte published[LINES + 1];     /* the MAC under which line i was ever published */
bool unrecorded = false, back = false;
byte knownBy[RUNS + 1];               /* the published number that the run of a publisher has loaded or written last */
inline cut(n) { atomic { do :: end > n -> file[end] = 0; mark[end] = 0; end--; :: else -> break od;
  do :: end > 0 && file[end] == 0 -> end-- :: else -> break od; synced = (synced > end -> end : synced) } }

active proctype Server() {
  do
  :: started <= RUNS && head < LINES ->
     atomic { head = end; knownBy[started] = number;       /* restoreState, then compareWithPublished */
#ifndef M4
       if :: number > head -> head = number + 1; mark[head] = 1                      /* cut-off: numbers are never used twice */
          :: number <= head && number != 0 && file[number] != mac -> head++; mark[head] = 1          /* rewritten */
          :: else -> head++
       fi;
#else
       head++;
#endif
       file[head] = started; end = head; synced = head; durable = head; up = true };     /* writeOpening, synced */
     do
     :: atomic { head < LINES -> head++; file[head] = started; end = head };             /* append */
#ifdef M2
        unrecorded = unrecorded || (synced < head && end == head);
#endif
        atomic { if :: end == head -> synced = head :: else fi; durable = head };    /* fsync */
        atomic { if :: file[head] == started -> unrecorded = unrecorded || synced < head :: else fi }    /* release */
     :: atomic { up = false; started++; cut(synced); break }                             /* kill -9, or the loss of power */
     od
  :: else -> break
  od
}
active [RUNS] proctype Publisher() {                       /* of one run each, which its transaction may outlive */
  byte n, m, seen; bool earlier;
  do
  :: atomic { up && started == _pid && durable > number -> n = durable; m = started; seen = number;
             earlier = (number == knownBy[_pid] || file[number] == mac) };          /* Log.Head, load, isEarlier */
     atomic {
#if defined(M3)
       if :: true ->
#elif defined(M1)
       if :: seen == number ->
#else
       if :: seen == number && earlier ->
#endif
          back = back || n < number; number = n; mac = m; published[n] = m; knownBy[_pid] = n
       :: else fi; n = 0; m = 0; seen = 0; earlier = false }
  od
}
active proctype Attacker() { byte n; atomic { select(n : 0 .. LINES - 1); cut(n) }; atomic { select(n : 0 .. LINES - 1); cut(n) } }
#define gone(i) (published[i] != 0 && file[i] != published[i])
#define shows(i) (mark[i] || (file[i] == 0 && end > i))
#define found (shows(1) || shows(2) || shows(3) || shows(4) || file[number] != mac)
#define lost (gone(1) || gone(2) || gone(3) || gone(4))
ltl safe { [] (!unrecorded && !back && (lost -> found)) }
/* spin -a [-DMx] audit.pml && gcc -O2 -o pan pan.c && ./pan -a -m100000 -N safe */
