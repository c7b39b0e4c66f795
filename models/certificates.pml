/* Rotation of the own CA (pkg/controller/certificates, Authority "serving"): a leader reconciles three objects, each written by
   compare-and-swap on its resourceVersion; a deposed leader that was paused may still finish one Reconcile. Two Pods serve.
   Beside it a Publisher copies the caBundle to a ConfigMap that applications read.
   safe: a client that trusts the caBundle, even a kube-apiserver that sees it late, or an application with an older ConfigMap,
   verifies every endpoint of the Service; and the stored certificate is by a CA that the CA Secret lists: a destroyed key signs
   nothing once its CA has left the bundle.
   Mutants: M1 M2 M3 M4 M5 M6
   M1 the old CA leaves the bundle by what endpoints serve alone: a Pod that has mounted the old certificate is no endpoint yet
   M2 the CA Secret is read first, not last: a leader that was paused after it publishes the old bundle
   M3 issues by the new CA without waiting for Propagation    M4 drops the old CA as soon as the new certificate is stored
   M5 issues by the new CA before it is in the caBundle
   M6 the Publisher reads the caBundle before the ConfigMap: one that was paused in between publishes the old bundle
   Found: M1 and M2 were what the code did before this model. */
#define CA(i) (1 << (i))
byte signer = 1, listed = CA(1); bool published = true;   /* CASecret: tls.key, ca.crt, publishedAnnotation */
byte leaf = 1, leafBundle = CA(1);                        /* ServingSecret: the CA that signed tls.crt, and ca.crt */
byte caBundle = CA(1);                                    /* of the APIService */
byte trust = CA(1);                                       /* the caBundle that a kube-apiserver has seen */
byte configMap = CA(1), app = CA(1);                      /* ConfigMap secret-ca, and what an application has of it */
byte mounted[2] = 1; bool endpoint[2] = true;             /* of a Pod: the CA of the tls.crt it has; 0 = no Pod */
bool curCA[2], curLeaf[2], curAPI[2], curMap;             /* is the resourceVersion that a leader read still the object's? */
#define serves(i) (!endpoint[i] || mounted[i] == s)       /* Prober.AllServe */
#if defined(M4)
#define nobodyServesOld true
#elif defined(M1)
#define nobodyServesOld (serves(0) && serves(1))
#else                                                     /* and every Pod that mounted an older tls.crt has had time to refresh it */
#define refreshed(i) (mounted[i] == 0 || mounted[i] == s)
#define nobodyServesOld (serves(0) && serves(1) && refreshed(0) && refreshed(1))
#endif
#ifdef M3
#define propagated true
#else                                                     /* Lifetimes.Propagation after publishedAnnotation */
#define propagated (p && (trust & CA(s)) && (app & CA(s)))
#endif
#define swapped(cur) cur[0] = false; cur[1] = false; cur[me] = true
inline readCA() { atomic { s = signer; t = listed; p = published; curCA[me] = true } }
inline readRest() { atomic { by = leaf; byBundle = leafBundle; curLeaf[me] = true };
  atomic { api = caBundle; curAPI[me] = true } }
inline saveCA() { atomic { if
  :: curCA[me] -> signer = s; listed = t; published = p; swapped(curCA)
  :: else -> goto end fi } }                               /* 409: start over */
inline publish() { atomic { if
  :: api == t
  :: api != t && curAPI[me] -> caBundle = t; api = t; swapped(curAPI)
  :: else -> goto end fi } }
inline issueAll() { atomic {
  if :: !(t & CA(by)) || propagated -> by = s; issued = true           /* it ends soon, or is by another CA */
     :: true fi;
  if :: (issued || byBundle != t) && curLeaf[me] -> leaf = by; leafBundle = t; swapped(curLeaf)
     :: else fi } }
active [2] proctype Reconcile() {                          /* 0 is the leader, 1 is deposed */
  byte me = _pid, s, t, api, by, byBundle; bool p, issued;
  do
  ::
#ifdef M2
     readCA(); readRest();
#else
     readRest(); readCA();
#endif
     atomic { if
     :: s == 1 -> s = 2; t = t | CA(2); p = false          /* ensureSigner: saving it overwrites the key of CA 1 */
     :: t != CA(s) && by == s && nobodyServesOld -> t = CA(s)          /* dropOld */
     :: true -> goto save fi };
     saveCA();
save:
#ifdef M5
     by = s; issued = true; issueAll();
#endif
     publish(); if :: !p -> p = true; saveCA() :: p fi;
     issueAll();
end: atomic { s = 0; t = 0; p = false; api = 0; by = 0; byBundle = 0; issued = false; curCA[me] = false; curLeaf[me] = false;
       curAPI[me] = false; if :: me == 1 -> break :: else fi }
  od }
active proctype Publish() {                                /* of the deposed leader */
  byte b;
#ifdef M6
  b = caBundle; curMap = true;
#else
  curMap = true; b = caBundle;
#endif
  atomic { if :: b != configMap && curMap -> configMap = b :: else fi; curMap = false; b = 0 }
}
active proctype Cluster() {
  byte i;
  do :: trust = caBundle                                   /* a kube-apiserver sees the APIService */
     :: atomic { configMap != caBundle -> configMap = caBundle; curMap = false }      /* the leader's Publisher */
     :: app = configMap                                    /* kubelet */
     :: atomic { select(i : 0 .. 1); if :: mounted[i] != 0 -> mounted[i] = leaf :: else fi }       /* kubelet; reload */
     :: atomic { select(i : 0 .. 1); if :: mounted[i] == 0 -> mounted[i] = leaf :: else -> endpoint[i] = true fi } /* starts */
     :: atomic { select(i : 0 .. 1); mounted[i] = 0; endpoint[i] = false }
  od }
#define verified(i) (!endpoint[i] || (trust & app & CA(mounted[i])))
ltl safe { [] (verified(0) && verified(1) && (listed & CA(leaf))) }
/* spin -a [-DMx] certificates.pml && gcc -O2 -o pan pan.c && ./pan -a -m1000000 -N safe */
