/* ALock: the algorithm of docs/alock.md, "Steps" and "Leaving", without crashes (alock_repair.pml has
 * those). Steps bear the names of the note, A1 to R3. The local side models lock/local_cohort.h, the
 * remote side lock/remote_cohort.cc. model_test.py lists the configurations and what each must find.
 *
 * Sizes:    NR remote and NL local processes, budgets BR and BL.
 * Machine:  HALVES  a fabric COMPARE_SWAP is a load and a store, atomic only against other fabric
 *                   atomics; one that fails writes the old value back.
 *           TSO     a store buffer for each local process; locked operations wait till it is empty.
 *           DATA    the lock guards a word that remote holders WRITE and local ones store.
 *           LEAVE   leaders may give up; waiters may be abandoned and pass on what they are granted.
 * Checks:   always: at most one inside, no invalid end state. LIVE=p: who is in the queue gets the
 *           lock, for process p. BYPASS: while a leader waits in B3 the other cohort enters at most
 *           as often as its budget says.
 * Wrong on purpose, each must be caught: BATCH_VICTIM, NO_BUDGET, MIXED_ATOMICS, EARLY_GRANT,
 *           READ_FIRST, PLAIN_VICTIM, LEAVE_EARLY; each is explained where it acts.
 */
#ifndef NR
#define NR 2
#endif
#ifndef NL
#define NL 1
#endif
#ifndef BR
#define BR 1
#endif
#ifndef BL
#define BL 1
#endif
#define N (NR + NL) /* Remote processes are 0 .. NR-1. */

#define LOCAL 1
#define REMOTE 2
#define WAIT 15
#define WORD (id + 1) /* No sequence number: here no grant is ever late. */

/* The lock's line, in the home's memory. */
byte remote_tail;
byte local_tail;
byte victim;
/* Descriptors. */
byte grant[N]; /* Of a remote one: to it. Of a local one: to its successor. */
byte next[NR]; /* 0: none. */

/* Whom a local one waits for; MOVED: that one uses its descriptor again, with a later sequence. */
#define MOVED 14
byte waits_for[NL];

/* What a local owner stores in its own grant is visible. */
inline set_grant(whose, granted) {
  d_step {
    grant[whose] = granted;
    j = 0;
    do
    :: j < NL ->
      if
      :: granted == WAIT && waits_for[j] == whose + 1 -> waits_for[j] = MOVED
      :: else
      fi;
      j++
    :: else -> break
    od;
    j = 0
  }
}

byte inside;   /* How many hold the lock. */
#ifdef HALVES
bit nic;       /* A fabric atomic is between its halves. */
#endif
#ifdef LIVE
bit queued;    /* Process LIVE is in a queue ... */
bit served;    /* ... and has had its turn. */
#endif
#ifdef BYPASS
bit contends[N];
byte passed[N];
#endif
#ifdef DATA
bit data;      /* What the lock guards. */
bit newest;    /* What the last holder made of it. */
bit in_flight[N];
bit posted[N];
#endif
#ifdef LEAVE_EARLY
bit victim_in_flight;
#endif

#ifdef TSO
#define DEPTH 3
#define VICTIM 0
#define GRANT 2
#define DATUM 3
byte stores[NL]; /* How many wait in the buffer, oldest first. */
byte kind[NL * DEPTH];
byte where[NL * DEPTH];
byte what[NL * DEPTH];
#define DRAINED (stores[id - NR] == 0)

inline store(k, a, w) {
  d_step {
    stores[id - NR] < DEPTH;
    kind[(id - NR) * DEPTH + stores[id - NR]] = k;
    where[(id - NR) * DEPTH + stores[id - NR]] = a;
    what[(id - NR) * DEPTH + stores[id - NR]] = w;
    stores[id - NR]++
  }
}
#else
#define DRAINED true
#endif

/* The lock is mine. BYPASS counts this against the other cohort's processes, other_first up to
 * other_past - 1; my cohort may pass a leader that waits `mine` times. */
inline enter(mine, other_first, other_past) {
  atomic {
    inside++;
    assert(inside == 1);
#ifdef DATA
    assert(data == newest);
#endif
#ifdef LIVE
    if
    :: id == LIVE -> served = 1
    :: else
    fi;
#endif
#ifdef BYPASS
    contends[id] = 0;
    passed[id] = 0;
    i = other_first;
    do
    :: i < other_past ->
      if
      :: contends[i] ->
        passed[i]++;
        assert(passed[i] <= mine)
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0
#endif
  }
}

#ifdef LIVE
#define JOINS if :: id == LIVE -> queued = 1; served = 0 :: else fi
#define LEAVES if :: id == LIVE -> queued = 0 :: else fi
#define MAY_LEAVE (id != LIVE)
#else
#define JOINS skip
#define LEAVES skip
#define MAY_LEAVE true
#endif
#ifdef BYPASS
#define CONTENDS contends[id] = 1
#define GIVES_UP contends[id] = 0; passed[id] = 0
#else
#define CONTENDS skip
#define GIVES_UP skip
#endif

/* COMPARE_SWAP of remote_tail through the fabric. */
inline fabric_compare_swap(expected, desired, old) {
#ifdef HALVES
  if
#ifdef MIXED_ATOMICS
  /* Wrong: process 0 is at the home, and changes remote_tail by the CPU's compare-exchange. */
  :: atomic { id == 0 -> old = remote_tail; remote_tail = (old == expected -> desired : old) }
  :: id != 0 ->
#else
  :: true ->
#endif
    atomic { nic == 0 -> nic = 1; old = remote_tail };
    atomic { remote_tail = (old == expected -> desired : old); nic = 0 }
  fi
#else
  atomic {
    old = remote_tail;
    if
    :: old == expected -> remote_tail = desired
    :: else
    fi
  }
#endif
}

/* READ of the line: its words are sampled in any order. */
inline read_line() {
  if
  :: tail = local_tail; who = victim
  :: who = victim; tail = local_tail
  fi
}

/* lock/remote_cohort.cc */
proctype Remote(byte id) {
  byte expected, old, budget, tail, who, heir;
#ifdef BYPASS
  byte i;
#endif

Outside:
  if
  :: true
  :: true -> goto Done
  fi;
A1:
  d_step { grant[id] = WAIT; next[id] = 0; expected = 0 };
A3: /* A2, the intent, matters to repair only. */
#ifdef READ_FIRST
  /* Wrong: the READ stands before the COMPARE_SWAP, so the other cohort is looked for before this
   * one's flag is up. */
  tail = local_tail;
#endif
  fabric_compare_swap(expected, WORD, old);
#ifdef BATCH_VICTIM
  /* Wrong: victim is written in the batch, whether the COMPARE_SWAP succeeds or not. */
  victim = REMOTE;
#endif
  atomic {
    if
    :: old != expected -> expected = old; old = 0; tail = 0; goto A3
    :: old == expected && expected == 0 -> old = 0; JOINS; goto Lead
    :: old == expected && expected != 0 -> old = 0; tail = 0; JOINS
    fi
  };
A4:
  atomic { next[expected - 1] = WORD; expected = 0 };
A5:
  atomic {
    grant[id] != WAIT -> budget = grant[id];
    if
    :: budget > 0 -> goto Mine
    :: else
#ifdef QUIET_LEAVE
      /* Wrong: whoever gives up without B2 leaves the other cohort waiting for its successors. */
      if
      :: true
      :: MAY_LEAVE -> goto R1
      fi
#endif
    fi
  };
Lead: /* B1: the READ behind A3's COMPARE_SWAP, or of its own after a grant of 0. */
#ifdef BATCH_VICTIM
  goto B3;
#endif
#ifndef READ_FIRST
  tail = local_tail;
#endif
  atomic {
    if
    :: tail == 0 -> budget = BR; goto Mine
    :: else -> tail = 0
    fi
  };
B2:
#ifdef LEAVE_EARLY
  atomic { victim_in_flight == 0 -> victim_in_flight = 1 };
  if
  :: atomic { victim_in_flight == 0 -> CONTENDS }
  /* Wrong: it leaves while its WRITE of victim is still on its way. */
  :: atomic { true -> budget = 0; goto R1 }
  fi;
#else
  atomic { victim = REMOTE; CONTENDS };
#endif
B3:
  read_line();
  atomic {
    if
    :: tail == 0 || who != REMOTE -> tail = 0; who = 0; budget = BR
    :: else ->
      tail = 0;
      who = 0;
      if
      :: true -> goto B3
#ifdef LEAVE
      :: MAY_LEAVE -> budget = 0; GIVES_UP; goto R1
#endif
      fi
    fi
  };
Mine:
#ifdef LEAVE
  if
  :: atomic { MAY_LEAVE -> GIVES_UP }; goto R1 /* Abandoned: it passes on what it was granted. */
  :: true
  fi;
#endif
  enter(BR, NR, N);
  d_step {
    inside--;
    LEAVES;
#ifdef DATA
    newest = !newest;
    in_flight[id] = 1;
    posted[id] = newest;
#endif
  };
R1:
  if
  :: next[id] != 0 -> goto R3
  :: next[id] == 0
  fi;
#ifdef DATA
  in_flight[id] == 0; /* The COMPARE_SWAP stands behind the data on its queue pair. */
#endif
  fabric_compare_swap(WORD, 0, old);
  atomic {
    if
    :: old == WORD -> old = 0; goto Released
    :: else -> old = 0
    fi
  };
R2:
  next[id] != 0;
R3:
#if defined(DATA) && !defined(EARLY_GRANT)
  /* EARLY_GRANT is wrong: the grant goes another way than the data and overtakes them. */
  in_flight[id] == 0;
#endif
  atomic {
    heir = next[id];
#ifdef NO_BUDGET
    grant[heir - 1] = budget; /* Wrong: a cohort may keep the lock for ever. */
#else
    grant[heir - 1] = (budget > 0 -> budget - 1 : 0);
#endif
    heir = 0
  };
Released:
  atomic { budget = 0; goto Outside };
Done:
  skip
}

/* lock/local_cohort.h */
proctype Local(byte id) {
  byte expected, budget, j;
#ifdef BYPASS
  byte i;
#endif

Outside:
  if
  :: true
  :: true -> goto Done
  fi;
A1:
  atomic { expected = 0; budget = 0 };
#ifdef TSO
  store(GRANT, id, WAIT);
#else
  set_grant(id, WAIT);
#endif
A3: /* A2, the stores of pred and word, matters to repair only. */
  true; /* So that others come between two tries. */
  atomic {
    DRAINED;
    if
    :: local_tail != expected -> expected = local_tail; goto A3
    :: local_tail == expected && expected == 0 -> local_tail = WORD; JOINS; goto B1
    :: local_tail == expected && expected != 0 ->
      local_tail = WORD;
      waits_for[id - NR] = expected;
      expected = 0;
      JOINS
    fi
  };
A5:
  atomic {
    if
    :: waits_for[id - NR] == MOVED -> budget = 0
    :: waits_for[id - NR] != MOVED && grant[waits_for[id - NR] - 1] != WAIT ->
      budget = grant[waits_for[id - NR] - 1]
    fi;
    waits_for[id - NR] = 0;
    if
    :: budget > 0 -> goto Mine
    :: else
#ifdef QUIET_LEAVE
      if
      :: true
      :: MAY_LEAVE -> goto R1
      fi
#endif
    fi
  };
B1:
  atomic {
    if
    :: remote_tail == 0 -> budget = BL; goto Mine
    :: else
    fi
  };
B2:
#ifdef TSO
  store(VICTIM, 0, LOCAL);
#ifndef PLAIN_VICTIM
  atomic { DRAINED -> CONTENDS }; /* PLAIN_VICTIM is wrong: a mov without the fence. */
#endif
#else
  atomic { victim = LOCAL; CONTENDS };
#endif
B3: /* The two loads, in either order, as often as it likes: each exit needs only one of them. */
  atomic {
    if
    :: remote_tail == 0 -> budget = BL
#ifdef PLAIN_VICTIM
    /* Its own store, still in the buffer, hides what memory says. */
    :: DRAINED && victim != LOCAL -> budget = BL
#else
    :: victim != LOCAL -> budget = BL
#endif
#ifdef LEAVE
    :: MAY_LEAVE -> budget = 0; GIVES_UP; goto R1
#endif
    fi
  };
Mine:
#ifdef LEAVE
  if
  :: atomic { MAY_LEAVE -> GIVES_UP }; goto R1
  :: true
  fi;
#endif
  enter(BL, 0, NR);
#ifdef DATA
  newest = !newest;
#ifdef TSO
  store(DATUM, 0, newest);
#else
  data = newest;
#endif
#endif
  d_step { inside--; LEAVES };
#ifdef NO_BUDGET
#define PASSED budget
#else
#define PASSED (budget > 0 -> budget - 1 : 0)
#endif
R1:
  atomic { budget = PASSED };
#ifdef TSO
  store(GRANT, id, budget);
#else
  set_grant(id, budget);
#endif
R2: /* A look, and the compare-exchange only if nobody follows. */
  if
  :: local_tail != WORD -> goto Outside
  :: local_tail == WORD
  fi;
  atomic {
    DRAINED;
    if
    :: local_tail == WORD -> local_tail = 0
    :: else
    fi
  };
  goto Outside;
Done:
  skip
}

#ifdef TSO
/* Drains the store buffer of one local process, whenever it likes. */
proctype StoreBuffer(byte n) {
  byte j;
end:
  do
  :: atomic {
      stores[n] > 0 ->
      if
      :: kind[n * DEPTH] == VICTIM -> victim = what[n * DEPTH]
      :: kind[n * DEPTH] == GRANT -> set_grant(where[n * DEPTH], what[n * DEPTH])
#ifdef DATA
      :: kind[n * DEPTH] == DATUM -> data = what[n * DEPTH]
#endif
      fi;
      kind[n * DEPTH] = kind[n * DEPTH + 1];
      where[n * DEPTH] = where[n * DEPTH + 1];
      what[n * DEPTH] = what[n * DEPTH + 1];
      kind[n * DEPTH + 1] = kind[n * DEPTH + 2];
      where[n * DEPTH + 1] = where[n * DEPTH + 2];
      what[n * DEPTH + 1] = what[n * DEPTH + 2];
      kind[n * DEPTH + 2] = 0;
      where[n * DEPTH + 2] = 0;
      what[n * DEPTH + 2] = 0;
      stores[n]--
    }
  od
}
#endif

#ifdef DATA
/* Lands the data that a remote holder has posted, some time. */
proctype DataWrites(byte id) {
end:
  do
  :: d_step { in_flight[id] -> data = posted[id]; posted[id] = 0; in_flight[id] = 0 }
  od
}
#endif

#ifdef LEAVE_EARLY
active proctype VictimWrite() {
end:
  do
  :: d_step { victim_in_flight -> victim = REMOTE; victim_in_flight = 0 }
  od
}
#endif

init {
  byte p = 0;
  atomic {
    do
    :: p < NR ->
      run Remote(p);
#ifdef DATA
      run DataWrites(p);
#endif
      p++
    :: p >= NR && p < N ->
      run Local(p);
#ifdef TSO
      run StoreBuffer(p - NR);
#endif
      p++
    :: p >= N -> break
    od;
    p = 0
  }
}

#ifdef LIVE
ltl served_in_the_end { [] (queued -> <> (served || !queued)) }
#endif
