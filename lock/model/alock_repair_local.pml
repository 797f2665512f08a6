/* ALock: crash repair of the local cohort, docs/alock.md, "Repair". Steps bear the names of the note,
 * A1 to R2 (lock/local_cohort.h) and L1, L2 (lock/local_repair.cc). model_test.py lists the configurations and
 * what each must find.
 *
 * Sizes:    NL local processes with a descriptor each, TURNS acquisitions each; 0 .. MORTAL - 1 may
 *           die at any step. One remote process with REMOTE_TURNS acquisitions. Budget BUDGET.
 *           LEAVE: leaders may give up, waiters may be abandoned.
 *           DATA: as in alock_repair.pml.
 * Death:    the process was seen to exit, so its store buffer is empty. Every store of its own is a
 *           step here; the buffers change nothing else (alock.pml has them).
 * Checks:   as in alock_repair.pml; besides, every repair comes to an end.
 * Wrong on purpose, each must be caught: NO_L1, ROBBED, NO_VERSIONS; each is explained where it
 *           acts. ONE_LOOK and WORD_LAST are not wrong: the home's walk may do without its second look
 *           at a word, and an owner may store its word last in A1.
 */
#ifndef NL
#define NL 3
#endif
#ifndef MORTAL
#define MORTAL 2
#endif
#ifndef TURNS
#define TURNS 1
#endif
#ifndef REMOTE_TURNS
#define REMOTE_TURNS 1
#endif
#ifndef BUDGET
#define BUDGET 1
#endif

#define LOCAL 1
#define REMOTE 2
#define WAIT 15

/* A word: the sequence of the acquisition, from 1, and whose it is. */
#define WORD(id, sequence) (((sequence) << 3) | (id))
#define ID(word) ((word) & 7)
#define SEQUENCE(word) ((word) >> 3)

/* The lock's line, and the descriptors: all in the home's memory. */
bit remote_tail;
byte local_tail;
byte victim;
byte word[NL];
byte pred[NL];
byte grant_sequence[NL]; /* One word with grant, which is for the successor. */
byte grant[NL];
#ifdef DATA
byte redo[NL]; /* The version that the record makes. */
byte version;
byte first_half;
byte second_half;
#endif

/* What only the checks look at. */
bit dead[NL];
byte deaths;
byte repairs;
bit holds[NL + 2]; /* NL: the remote process, NL + 1: the home repairs data. */
bit started[NL];
byte finished;
#ifdef DATA
byte newest; /* What the record must say. */
#define NEWEST_FOUND (version == newest && first_half == newest && second_half == newest)
#else
#define NEWEST_FOUND true
#endif

inline check_alone(who) {
  d_step {
    i = 0;
    do
    :: i < NL ->
      assert(i == who || dead[i] || !holds[i]);
      i++
    :: i >= NL && i < NL + 2 ->
      assert(i == who || !holds[i]);
      i++
    :: else -> break
    od;
    i = 0
  }
}

/* In an atomic. */
inline enter(who) {
  holds[who] = 1;
  check_alone(who);
  assert(NEWEST_FOUND)
}

/* Processes of a kind differ in nothing but their number: they start in its order. */
#define TURN_TO_START (id == 0 || id == MORTAL || started[id - 1] || dead[id - 1])
#define MAY_DIE :: atomic { id < MORTAL -> die() }; goto Killed
/* What the successor of the acquisition w sees: it has left. */
#define HAS_MOVED_ON(w) (grant_sequence[ID(w)] != SEQUENCE(w))
#define HAS_LEFT(w) (HAS_MOVED_ON(w) || grant[ID(w)] != WAIT)
#define MINE WORD(id, sequence)

inline die() {
  dead[id] = 1;
  deaths++;
  holds[id] = 0;
  sequence = 0;
  expected = 0;
  budget = 0
}

/* lock/local_cohort.h. Steps that nobody else can tell apart stand in one atomic. */
proctype Local(byte id) {
  byte sequence, expected, budget, i;

Outside:
  if
  :: atomic { sequence < TURNS && TURN_TO_START ->
      started[id] = 1;
      budget = 0;
      sequence++
    }
  :: sequence == TURNS -> goto Finished
  MAY_DIE /* Between turns its last word is still there. */
  fi;
A1:
#ifndef WORD_LAST
  if
  :: atomic { true -> word[id] = MINE }
  MAY_DIE
  fi;
#endif
  if
  :: atomic { true -> grant_sequence[id] = sequence; grant[id] = WAIT }
  MAY_DIE
  fi;
#ifdef WORD_LAST
  if
  :: atomic { true -> word[id] = MINE }
  MAY_DIE
  fi;
#endif
A2:
  if
  :: atomic { true -> pred[id] = expected }
  MAY_DIE
  fi;
A3:
  if
  :: atomic { local_tail != expected -> expected = local_tail }; goto A2
  :: atomic { local_tail == expected && expected == 0 -> local_tail = MINE }; goto B1
  :: atomic { local_tail == expected && expected != 0 -> local_tail = MINE }
  MAY_DIE
  fi;
A5: /* `expected` is the predecessor. Who moved on had led: now I do. */
  if
  :: atomic { !HAS_MOVED_ON(expected) && HAS_LEFT(expected) && grant[ID(expected)] > 0 ->
      budget = grant[ID(expected)];
      expected = 0;
      enter(id)
    };
    goto Mine
  :: atomic { HAS_MOVED_ON(expected) || grant[ID(expected)] == 0 -> expected = 0 }
#ifdef LEAVE
  /* B1 to B3, given up. */
  :: atomic { HAS_MOVED_ON(expected) || grant[ID(expected)] == 0 -> expected = 0 }; goto R1
  :: atomic { !HAS_MOVED_ON(expected) && HAS_LEFT(expected) && grant[ID(expected)] > 0 ->
      budget = grant[ID(expected)];
      expected = 0
    };
    goto R1 /* Abandoned. */
#endif
  MAY_DIE
  fi;
B1:
  if
  :: atomic { remote_tail == 0 -> budget = BUDGET; enter(id) }; goto Mine
  :: remote_tail != 0
  MAY_DIE
  fi;
B2:
  if
  :: atomic { true -> victim = LOCAL }
  MAY_DIE
  fi;
B3:
  if
  :: atomic { remote_tail == 0 || victim != LOCAL -> budget = BUDGET; enter(id) }
#ifdef LEAVE
  :: true -> goto R1
#endif
  MAY_DIE
  fi;
Mine:
#ifdef DATA
  if
  :: atomic { true -> redo[id] = version + 2 }
  MAY_DIE
  fi;
  if
  :: atomic { true -> version = redo[id] - 1; first_half = redo[id] }
  MAY_DIE
  fi;
  if
  :: atomic { true ->
      second_half = redo[id];
      version = redo[id];
      newest = redo[id];
      holds[id] = 0
    }
  MAY_DIE
  fi;
#endif
R1:
  if
  :: atomic { true ->
      holds[id] = 0;
      grant[id] = (budget > 0 -> budget - 1 : 0)
    }
  MAY_DIE
  fi;
R2:
  if
  :: atomic { local_tail == MINE -> local_tail = 0 }
  :: local_tail != MINE
  MAY_DIE
  fi;
  goto Outside;
Finished:
  atomic { sequence = 0; budget = 0 };
Killed:
  finished++
}

/* The other cohort, with one process, which does not die. */
proctype Remote() {
  byte turns, i;

Outside:
  if
  :: atomic { turns < REMOTE_TURNS -> turns++; remote_tail = 1 } /* A3 */
  :: turns == REMOTE_TURNS -> goto Finished
  fi;
B1:
  if
  :: atomic { local_tail == 0 -> enter(NL) }; goto Mine
  :: local_tail != 0
  fi;
B2:
  victim = REMOTE;
B3:
  atomic { local_tail == 0 || victim != REMOTE -> enter(NL) };
Mine:
#ifdef DATA
  atomic { version++; first_half = newest + 2 };
  atomic { version++; second_half = version; newest = version };
#endif
  atomic { holds[NL] = 0; remote_tail = 0 }; /* R1 */
  goto Outside;
Finished:
  atomic { turns = 0; finished++ }
}

#ifdef NO_VERSIONS
#define OLDER(made) (made != 0) /* Wrong: replays over what came later. */
#else
#define OLDER(made) (version < made)
#endif

/* The home, for the one descriptor of a dead process. Several run at once, each waits for itself. */
proctype Repair(byte d) {
  byte at, before, i;

end: /* Nobody has died. */
  dead[d];
  at = local_tail;
Walk: /* Does the queue lead to d? Word by word; others come between. */
  if
  :: at == 0 || word[ID(at)] != at -> goto Done /* No, or it has granted: who came later has left. */
  :: at != 0 && word[ID(at)] == at && ID(at) == d -> goto L1
  :: at != 0 && word[ID(at)] == at && ID(at) != d
  fi;
  before = pred[ID(at)];
  if
  :: HAS_LEFT(at) -> goto Done /* Who stands before it has, too. */
  :: !HAS_LEFT(at)
  fi;
#ifndef ONE_LOOK
  if
  :: word[ID(at)] != at -> goto Done
  :: word[ID(at)] == at
  fi;
#endif
  atomic { at = before; before = 0 };
  goto Walk;
L1: /* `at` is d's word; what a dead one has written stays. */
  if
  :: HAS_LEFT(at) -> goto L2
  :: !HAS_LEFT(at)
  fi;
#ifndef NO_L1 /* Wrong: grants before its turn. */
  pred[d] == 0 || HAS_LEFT(pred[d]);
#endif
#ifdef DATA
  if
  :: atomic { OLDER(redo[d]) -> holds[NL + 1] = 1; check_alone(NL + 1) };
    atomic {
      version = redo[d];
      first_half = version;
      second_half = version;
      newest = version;
      check_alone(NL + 1);
      holds[NL + 1] = 0
    }
  :: !OLDER(redo[d])
  fi;
#endif
#ifdef ROBBED
  grant[d] = BUDGET; /* Wrong: the dead one may have been a leader only. */
#else
  grant[d] = 0;
#endif
L2:
  atomic {
    if
    :: local_tail == at -> local_tail = 0
    :: else
    fi
  };
Done:
  atomic { at = 0; before = 0; repairs++ }
}

/* When nobody has anything left to do. */
proctype End() {
  finished == NL + 1 && repairs == deaths;
  assert(local_tail == 0);
  assert(NEWEST_FOUND)
}

init {
  byte p = 0;
  atomic {
    do
    :: p < NL -> run Local(p); p++
    :: p >= NL -> break
    od;
    run Remote();
    p = 0;
    do
    :: p < MORTAL -> run Repair(p); p++
    :: p >= MORTAL -> break
    od;
    run End();
    p = 0
  }
}
