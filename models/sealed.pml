/* Seal, carry and rewrap (pkg/sealed): two servers, one name in etcd. A record has an object and a ciphertext; the ciphertext names what
   it was sealed for: its AAD. Each write is one transaction that compares the ModRevision of the record that the server has read.
   opens: what is stored opens to the last acknowledged value for the last acknowledged decrypters, unless somebody with write access to
   etcd changed it; then it does not open. rises: status.version only rises while an object lives. kept: no label edit is lost.
   Mutants: M1 M2 M3 M4 M5 M6
   M1 a write compares no revision               M2 a decrypter is taken away and the ciphertext carried
   M3 an update that starts from the watch cache's suggestion compares the revision of the record that keepSealed reads after it
   M4 the AAD has no uid: a ciphertext of a deleted object opens in its successor
   M5 the AAD has no version: an older ciphertext opens     M6 the AAD has no decrypters: one that was added in etcd opens it */
#define ONE 1                  /* spec.decrypters as a set */
#define BOTH 3
typedef Sealed { byte uid, version, dec; bool value }       /* AAD and plaintext */
byte uid, version, dec; bool label;                        /* etcd: the object; version 0 = no such key */
Sealed c;                                                  /* etcd: its ciphertext */
byte made;                                                 /* objects that were created */
Sealed kept;                                               /* an older ciphertext in the hands of who can write to etcd */
bool cur[2];                                               /* is the ModRevision that a server has read still that of the record? */
bool value; byte decrypters; bool labelled;                /* what clients were last told: the value, its decrypters, the label */
bool tampered, fell;
#if defined(M4)                /* does ciphertext x open for this object? */
#define opens(x, u, v, d) (x.version == v && x.dec == d)
#elif defined(M5)
#define opens(x, u, v, d) (x.uid == u && x.dec == d)
#elif defined(M6)
#define opens(x, u, v, d) (x.uid == u && x.version == v)
#else
#define opens(x, u, v, d) (x.uid == u && x.version == v && x.dec == d)
#endif
#define copy(to, from) to.uid = from.uid; to.version = from.version; to.dec = from.dec; to.value = from.value
#define seal(to, u, v, d, p) to.uid = u; to.version = v; to.dec = d; to.value = p
#ifdef M1
#define compared true
#else
#define compared (cur[me] || (v == 0 && version == 0))
#endif
#define changed cur[0] = false; cur[1] = false
inline put() { fell = fell || (uid == u && v < version); uid = u; version = v; dec = d; label = l; copy(c, s); changed }

active [2] proctype Server() {
  byte me = _pid, u, v, d, op; bool l; Sealed s;
  do
  :: atomic { u = uid; v = version; d = dec; l = label; copy(s, c); cur[me] = true };      /* GuaranteedUpdate reads; or the cache did */
     if                                                    /* a pause of any length */
     :: atomic { v == 0 && made < 2 && compared -> made++; u = made; v = 1; l = 0; d = BOTH; /* Create */
          s.value = !value; seal(s, u, v, d, s.value); tampered = false;
          value = s.value; decrypters = d; labelled = l; put() }
     :: atomic { v == 1 && compared -> v++;       /* PUT with a value */
          if :: d = ONE :: d = BOTH fi; s.value = !value; seal(s, u, v, d, s.value); tampered = false;
          value = s.value; decrypters = d; put() }
     :: atomic { v != 0 && compared -> l = !l; labelled = !labelled; put() }               /* a label: carries */
     :: v != 0 -> atomic { version != 0 ->                 /* a label, from the suggestion: keepSealed reads the ciphertext */
          if :: cur[me] :: else
#ifdef M3
             -> cur[me] = true
#else
             -> goto again                                 /* errSuperseded */
#endif
          fi; copy(s, c) };
          atomic { if :: compared -> l = !l; labelled = !labelled; put() :: else fi }
     :: atomic { v != 0 && d == BOTH && compared && opens(s, u, v, d) -> d = ONE; decrypters = d;    /* a decrypter taken away: reseal */
#ifndef M2
          seal(s, u, v, d, s.value);
#endif
          put() }
     :: atomic { v != 0 && compared && opens(s, u, v, d) -> seal(s, u, v, d, s.value); put() }       /* Rewrap */
     :: atomic { v != 0 && compared -> version = 0; changed }          /* Delete */
     :: true                                               /* the compare fails, or the server dies */
     fi;
again: atomic { cur[me] = false; u = 0; v = 0; d = 0; l = 0; s.uid = 0; s.version = 0; s.dec = 0; s.value = 0 }
  od
}
active proctype WritesToEtcd() {                           /* once: keeps a ciphertext, and puts it back or adds a decrypter */
  atomic { version != 0 -> copy(kept, c) };
  atomic { version != 0 -> tampered = true; changed; if :: copy(c, kept) :: dec = BOTH fi }
}
#define stored (version != 0)
#define right (opens(c, uid, version, dec) && c.value == value && dec == decrypters)
ltl safe { [] (!fell && (stored -> (label == labelled && (right || (tampered && !opens(c, uid, version, dec)))))) }
/* spin -a [-DMx] sealed.pml && gcc -O2 -o pan pan.c && ./pan -a -m1000000 -N safe */
