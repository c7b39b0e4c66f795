/* Rotation of a key with the fence. `keys retire` (pkg/tools/keys, sealed.Retire) writes a record of the key to etcd
   (sealed.RetiredKey), then scans. A write that SEALS (new value, rewrap, a decrypter taken away: Store.seal) is one etcd transaction
   that also compares that there is no such record of the key its ciphertext names (fence.OptimisticPut of pkg/sealed). A write that
   only CARRIES the stored ciphertext (label, description: write.carried) does not compare it. No lease, no clock: only the order of
   etcd counts. A server announces itself (sealed.Announce) for people only: safe does not depend on it.
   Two names (0 exists, 1 is created by PUT), two servers with their own copy of the encryption configuration, an operator who rotates
   key 1 to key 2. safe: no acknowledged value is under a key that was destroyed.
   Mutants: M1 M2 M3 M4 M5
   M1 a write compares no record    M2 the values are scanned before the record is written
   M3 the record is read before the transaction and not compared in it    M4 server 0 is an older version that never compares
   M5 a backup from before the retirement is restored after the key was destroyed */
#define N 2
#define ABSENT 0
byte key[2];               /* etcd: key that a value is sealed under */
bool retired1 = false;     /* etcd: retired/1 exists */
byte filew = 1;            /* first key of the file that the operator wrote last */
byte wk[N] = 1;            /* write key of a server by its own copy of the file, which it reads late or never */
byte name[N]; bool cur[N]; /* what a server has read: which name, and whether its ModRevision is still that of etcd */
bool gone1 = false;        /* the secret of key 1 is destroyed */
bool lost = false;         /* an acknowledged value cannot be opened any more */
inline put(v, k) {
  key[v] = k; cur[0] = cur[0] && name[0] != v; cur[1] = cur[1] && name[1] != v; lost = lost || (gone1 && k == 1)
}
inline read(v, k) { name[me] = v; cur[me] = true; held = k; absent = (key[v] == ABSENT) }
#define sameRevision (cur[me] || (absent && key[name[me]] == ABSENT))

active [N] proctype File() { do :: wk[_pid] = filew od }  /* pkg/reload; may never happen: the last good file stays in force */

active [N] proctype Server() {
  byte me = _pid - N, held; bool absent, sealed, checked;
  do
  :: atomic { sealed = true; if                           /* read and seal ... */
     :: read(0, wk[me])                                   /* PUT with a value, create */
     :: read(1, wk[me])
     :: key[0] == 1 && wk[me] == 2 && !gone1 -> read(0, 2)     /* rewrap: opens with key 1 */
     :: key[1] == 1 && wk[me] == 2 && !gone1 -> read(1, 2)
     :: key[0] != ABSENT -> read(0, key[0]); sealed = false    /* label edit: carries */
     :: key[1] != ABSENT -> read(1, key[1]); sealed = false
     fi; checked = !(held == 1 && retired1) };
     skip;                                                /* ... a pause of any length: GC, SIGSTOP, partition ... */
     atomic { if                                          /* ... the transaction */
#if defined(M1)
     :: sameRevision -> put(name[me], held)
#elif defined(M3)
     :: sameRevision && (!sealed || checked) -> put(name[me], held)
#elif defined(M4)
     :: sameRevision && (me == 0 || !sealed || !(held == 1 && retired1)) -> put(name[me], held)
#else
     :: sameRevision && (!sealed || !(held == 1 && retired1)) -> put(name[me], held)
#endif
     :: else                                              /* revision: read again, retry; retired: 503, nothing written */
     fi; cur[me] = false; held = 0; absent = false; checked = false }
  :: atomic { key[1] != ABSENT -> put(1, ABSENT) }        /* delete: the name is free again */
  od
}

active proctype Operator() {
  key[0] = 1;
  filew = 2;                                              /* step 2: the new key first */
#ifdef M2
  atomic { key[0] == 2 && key[1] != 1 -> skip }; retired1 = true;
#else
  retired1 = true;                                        /* keys retire: the fence first ... */
  atomic { key[0] == 2 && key[1] != 1 -> skip };          /* ... then a scan at a later revision finds nothing under key 1 */
#endif
  atomic { gone1 = true; lost = lost || key[0] == 1 || key[1] == 1 };   /* step 4: destroy the secret */
#ifdef M5
  atomic { put(0, 1); retired1 = false }                  /* etcd as it was before */
#endif
}
ltl safe { [] !lost }
/* spin -a [-DMx] rotation.pml && gcc -O2 -o pan pan.c && ./pan -a -m1000000 -N safe */
