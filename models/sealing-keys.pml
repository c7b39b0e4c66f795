/* Sealing keys (pkg/sealed: SealingKeys) with two servers: replacement, retirement, and a text that a client holds. A client gets the
   active key from a server (SealingKeys.List), and after a pause of any length applies what it sealed through either server, which reads
   the record of the key from etcd (SealingKeys.private), opens the text, and writes the object later. The newest key is active. One is
   made (create) in a transaction that compares that no newer one came: when there is none, or when the active one is to be replaced
   (ReplaceSealingKey). An operator retires a key (RetireSealingKey): counts the objects whose text names it, then deletes the record
   in a transaction that compares its revision. Records move to another storage key by compare-and-swap (rewrapOne).
   opens: a text of a key that is not retired opens on every server. one: a replacement makes one new key. active: a key that people
   seal to is never retired. gone: a retired key does not come back.
   Mutants: M1 M2 M3 M4 M5
   M1 a server opens with the keys that it listed, and reads etcd for none    M2 create compares nothing
   M3 the active key is not refused, or its revision not compared    M4 a rewrap compares no revision
   M5 the count is taken for a promise that no object names a retired key: one may be applied between count and deletion, since no write
      compares the record of its sealing key. Such an object keeps its value; once deleted it cannot be made again from that text. */
#define N 2
#define K 4                              /* keys 1 to 3, in the order in which they are made */
bool there[K], replaced[K], old[K];      /* etcd: the record exists; Replaced; is under the storage key before the last one */
byte rev[K];                             /* etcd: ModRevision of the record, modulo 4 */
byte made, object, text;                 /* keys made; key that the text of the object in etcd names, and that of a client */
bool listed[N * K];                      /* keys that a server has listed */
bool retired[K], broken, twice, lost, again;
#define newest (there[3] -> 3 : (there[2] -> 2 : (there[1] -> 1 : 0)))
#define due(k) (k == 0 || replaced[k])
#define put(k) rev[k] = (rev[k] + 1) % 4
#define back ((there[1] && retired[1]) || (there[2] && retired[2]) || (there[3] && retired[3]))
#ifdef M1
#define opens listed[me * K + k]
#else
#define opens there[k]                   /* else ErrNoSealingKey */
#endif
active [N] proctype Server() {
  byte me = _pid, seen, k, r;
  do
  :: atomic { seen = newest; if                            /* List */
     :: due(seen) && made < K - 1 -> skip
     :: else -> text = seen; listed[me * K + seen] = true; goto done fi };
     skip; atomic { if                                     /* create */
     ::
#ifndef M2
        newest <= seen &&
#endif
        made < K - 1 -> twice = twice || !due(newest); made++; there[made] = true; old[made] = true; listed[me * K + made] = true
     :: else fi };
done: seen = 0
  :: atomic { text != 0 -> k = text; if                    /* an apply: the record is read, the text opened ... */
     :: !opens -> broken = broken || !retired[k]; k = 0
     :: else fi };                                         /* ... and after a pause the object is written */
     skip; atomic { if :: k != 0 -> object = k; again = again || retired[k] :: else fi; k = 0 }
  :: atomic { object != 0 -> object = 0 }                  /* delete */
  :: atomic { k = newest; if :: k != 0 && old[k] -> r = rev[k] :: else -> k = 0 fi };         /* rewrapOne: read ... */
     skip; atomic { if                                     /* ... put */
#ifdef M4
     :: k != 0 -> there[k] = true; old[k] = false; put(k)
#else
     :: k != 0 && there[k] && rev[k] == r -> old[k] = false; put(k)
#endif
     :: else fi; k = 0; r = 0 }
  od
}
active proctype Operator() {
  byte k, r;
  do
  :: atomic { k = newest; if :: k != 0 && !replaced[k] -> replaced[k] = true; put(k) :: else fi; k = 0 }
  :: atomic { if :: there[1] -> k = 1 :: there[2] -> k = 2 :: there[3] -> k = 3 fi; r = rev[k]; if    /* RetireSealingKey ... */
#ifndef M3
     :: k == newest && !replaced[k] -> k = 0               /* ErrSealingKeyActive */
#endif
     :: object == k -> k = 0                               /* the count */
     :: else fi };
     skip; atomic { if                                     /* ... deletes */
     :: k != 0 && there[k] && rev[k] == r -> lost = lost || (k == newest && !replaced[k]); again = again || object == k;
        there[k] = false; retired[k] = true; put(k)
     :: else fi; k = 0; r = 0 }
  od
}
#ifdef M5
ltl safe { [] !again }
#else
ltl safe { [] (!broken && !twice && !lost && !back) }
#endif
/* spin -a [-DMx] sealing-keys.pml && gcc -O2 -o pan pan.c && ./pan -a -m1000000 -N safe */
