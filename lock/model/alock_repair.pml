/* ALock: crash repair of the remote cohort, docs/alock.md, "Repair". Steps bear the names of the note,
 * A1 to R3 (lock/remote_cohort.cc) and M1 to M5 (asked by the home, answered by lock/remote_cohort.cc).
 * model_test.py lists the configurations and what each must find.
 *
 * Sizes:    NR remote processes with a descriptor each, TURNS acquisitions each (the last one:
 *           LAST_TURNS); 0 .. MORTAL - 1 may die at any step. One local process with LOCAL_TURNS
 *           acquisitions. Budget BUDGET. WALKS: so often the home looks without a death here: somebody
 *           died who used other locks.
 *           LEAVE: leaders may give up, waiters may be abandoned. IN_LINE: see TURN_TO_START.
 *           DATA: the lock guards a record with a version, odd while it is written; a holder writes a
 *           redo record first. Who enters must find the newest version, whole.
 * Death:    being fenced, in one step. A process that stopped earlier is one that is not scheduled
 *           until then, and so is one whose last WRITEs are still on their way.
 * Checks:   at most one survivor inside, or the home that repairs data; no record half written or
 *           older than the newest; everybody comes to an end. Each process makes a bounded number of
 *           steps (waiting blocks), hence who waits for ever shows as an invalid end state. In the
 *           end the tail is 0.
 * Wrong on purpose, each must be caught: NO_FENCE, PEERS_OPEN, HOME_OPEN, ONLY_D1, NOT_SPOILT,
 *           M1_STALE, NO_STAND_BY with M3_ALWAYS, M4_CLEARS, M4_ONCE, NO_VERSIONS; each is explained
 *           where it acts.
 */
#ifndef NR
#define NR 3
#endif
#ifndef MORTAL
#define MORTAL 2
#endif
#ifndef TURNS
#define TURNS 1
#endif
#ifndef LAST_TURNS
#define LAST_TURNS TURNS
#endif
#ifndef LOCAL_TURNS
#define LOCAL_TURNS 1
#endif
#ifndef BUDGET
#define BUDGET 1
#endif
#if defined(NO_FENCE) || defined(PEERS_OPEN) || defined(HOME_OPEN)
#define ZOMBIES
#endif

#define LOCAL 1
#define REMOTE 2
#define WAIT 15

/* A word: the sequence of the acquisition, from 1, and whose it is. */
#define WORD(id, sequence) (((sequence) << 3) | (id))
#define ID(word) ((word) & 7)
#define SEQUENCE(word) ((word) >> 3)

/* In the home's memory. */
byte remote_tail;
bit local_tail;
byte victim;
byte intent_word[NR];
byte intent_pred[NR];
#ifdef DATA
byte redo[NR]; /* The version that the record makes. */
byte version;
byte first_half;
byte second_half;
#endif

/* In the memory of each remote process. */
byte word[NR]; /* Of the acquisition that is under way; 0: none. */
byte grant_sequence[NR];
byte grant[NR];
byte next[NR];
bit again[NR]; /* M4 said that there is no successor: R1 again. */
bit stands_by[NR]; /* Between M1 and M3 or M4: grants nobody. */
bit spoilt[NR];    /* M5 has granted: a late grant may land, the descriptor is not used again. */
bit taken[NR]; /* In R3: the successor is chosen, the WRITE of its grant is on its way. */

bit dead[NR];
byte deaths;

/* What only the checks look at. */
bit holds[NR + 2]; /* NR: the local process, NR + 1: the home repairs data. */
bit started[NR];
byte finished;
#ifdef IN_LINE
byte joined;
#endif
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
    :: i < NR ->
      assert(i == who || dead[i] || !holds[i]);
      i++
    :: i >= NR && i < NR + 2 ->
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

/* What nobody looks at any more is forgotten at once: fewer states. */
inline forget() {
  d_step {
    word[id] = 0;
    grant_sequence[id] = 0;
    grant[id] = WAIT;
    next[id] = 0;
    again[id] = 0;
    taken[id] = 0;
    stands_by[id] = 0;
    expected = 0;
    budget = 0;
    heir = 0
  }
}

/* It has a successor that it may grant. */
#define FOLLOWED (next[id] != 0 && !stands_by[id])

/* R3 begins: the grant is on its way to `heir`. In an atomic. */
inline choose() {
  heir = next[id];
  next[id] = 0;
  taken[id] = 1
}

#ifdef IN_LINE
/* They join the queue one after the other: X is 2, then come the mortal ones, then S, which is 3. */
#if MORTAL == 2
#define PLACE(id) (id == 2 -> 0 : (id == 3 -> 3 : id + 1))
#else
#define PLACE(id) (id == 2 -> 0 : (id == 0 -> 1 : (id == 3 -> 2 : 3)))
#endif
#define TURN_TO_START (joined >= PLACE(id))
#define JOINS joined++
#define MORTAL_NOW (id < MORTAL && joined > PLACE(id))
#else
/* Processes of a kind differ in nothing but their number: they start in its order. */
#define TURN_TO_START (id == 0 || id == MORTAL || started[id - 1] || dead[id - 1])
#define JOINS skip
#define MORTAL_NOW (id < MORTAL)
#endif

/* How fencing shows. Normally death is the whole of it. ZOMBIES: a process is only taken for dead
 * and goes on, to its first operation on memory where its queue pair is closed: must hold too. */
#ifdef ZOMBIES
#define MAY_DIE :: atomic { dead[id] -> forget(); sequence = 0 }; goto Killed
#define STOPS                \
  if                         \
  :: dead[id] -> goto Killed \
  :: else                    \
  fi
#else
#define MAY_DIE                                                                       \
  :: atomic { MORTAL_NOW -> dead[id] = 1; deaths++; holds[id] = 0; forget(); sequence = 0 }; \
  goto Killed
#define STOPS skip
#endif
#if defined(NO_FENCE) || defined(HOME_OPEN)
#define AT_HOME skip /* Wrong: the home has not closed its queue pair. */
#else
#define AT_HOME STOPS
#endif
#if defined(NO_FENCE) || defined(PEERS_OPEN)
#define AT_PEER skip /* Wrong: the peers have not. */
#define TO(w, effect) effect
#else
#define AT_PEER STOPS
/* A WRITE into the memory of the process of word w, which may be dead. */
#define TO(w, effect)       \
  if                        \
  :: !dead[ID(w)] -> effect \
  :: else                   \
  fi
#endif

#define TURNS_OF(id) (id == NR - 1 -> LAST_TURNS : TURNS)
#define GRANTED (grant_sequence[id] == sequence && grant[id] != WAIT)

/* lock/remote_cohort.cc. Steps that nobody else can tell apart stand in one atomic. */
proctype Remote(byte id) {
  byte sequence, expected, budget, heir, i;

Outside:
  if
  :: atomic { sequence < TURNS_OF(id) && !spoilt[id] && TURN_TO_START ->
      started[id] = 1;
      sequence++;
      /* A1: grant says "wait", next says none. */
      forget();
      grant_sequence[id] = sequence;
      word[id] = WORD(id, sequence)
    }
  :: spoilt[id] || sequence == TURNS_OF(id) -> goto Finished
  MAY_DIE /* Between turns its last intent is still there. */
  fi;
A2:
  if
  :: atomic { true ->
      AT_HOME;
      intent_word[id] = WORD(id, sequence);
      intent_pred[id] = expected
    }
  MAY_DIE
  fi;
A3:
  if
  :: atomic { remote_tail != expected -> AT_HOME; expected = remote_tail }; goto A2
  :: atomic { remote_tail == expected && expected == 0 ->
      AT_HOME;
      JOINS;
      remote_tail = WORD(id, sequence)
    };
    goto B1
  :: atomic { remote_tail == expected && expected != 0 ->
      AT_HOME;
      JOINS;
      remote_tail = WORD(id, sequence)
    }
  MAY_DIE
  fi;
A4:
  if
  :: atomic { true ->
      AT_PEER;
      TO(expected, next[ID(expected)] = WORD(id, sequence));
      expected = 0
    }
  MAY_DIE
  fi;
A5:
  if
  :: atomic { GRANTED && grant[id] > 0 -> budget = grant[id]; enter(id) }; goto Mine
  :: GRANTED && grant[id] == 0
#ifdef LEAVE
  :: GRANTED && grant[id] == 0 -> goto R1 /* B1 to B3, given up. */
  :: atomic { GRANTED && grant[id] > 0 -> budget = grant[id] }; goto R1 /* Abandoned. */
#endif
  MAY_DIE
  fi;
B1:
  if
  :: atomic { local_tail == 0 -> AT_HOME; budget = BUDGET; enter(id) }; goto Mine
  :: atomic { local_tail != 0 -> AT_HOME }
  MAY_DIE
  fi;
B2:
  if
  :: atomic { true -> AT_HOME; victim = REMOTE }
  MAY_DIE
  fi;
B3: /* Blocks instead of reading again and again; either word alone is reason enough to go on. */
  if
  :: atomic { local_tail == 0 || victim != REMOTE -> AT_HOME; budget = BUDGET; enter(id) }
#ifdef LEAVE
  :: true -> goto R1
#endif
  MAY_DIE
  fi;
Mine:
#ifdef DATA
  if
  :: atomic { true -> AT_HOME; redo[id] = version + 2 }
  MAY_DIE
  fi;
  if
  :: atomic { true -> AT_HOME; version = redo[id] - 1; first_half = redo[id] }
  MAY_DIE
  fi;
  if
  :: atomic { true ->
      AT_HOME;
      second_half = redo[id];
      version = redo[id];
      newest = (dead[id] -> newest : redo[id]);
      holds[id] = 0
    }
  MAY_DIE
  fi;
#endif
R1: /* To choose a successor and M1 exclude each other. */
  if
#ifdef M1_STALE
  :: atomic { FOLLOWED -> holds[id] = 0 }; goto R3
#else
  :: atomic { FOLLOWED -> holds[id] = 0; choose() }; goto R3
#endif
  :: atomic { !FOLLOWED && remote_tail == WORD(id, sequence) ->
      AT_HOME;
      holds[id] = 0;
      remote_tail = 0
    };
    goto Released
  :: atomic { !FOLLOWED && remote_tail != WORD(id, sequence) -> AT_HOME; holds[id] = 0 }
  MAY_DIE
  fi;
R2:
  if
#ifdef M1_STALE
  :: FOLLOWED
#else
  :: atomic { FOLLOWED -> choose() }
#endif
#ifndef M4_ONCE /* Wrong: M4 is obeyed by who is in R1 at that moment, not by who has failed there. */
  :: atomic { !FOLLOWED && again[id] -> again[id] = 0 }; goto R1
#endif
  MAY_DIE
  fi;
R3:
#ifdef M1_STALE
  if
  :: atomic { FOLLOWED -> heir = next[id] } /* Wrong: M1 may come behind this look. */
  :: !FOLLOWED -> goto R2
  MAY_DIE
  fi;
  if
  :: atomic { true -> taken[id] = 1 }
  MAY_DIE
  fi;
#endif
  if
  :: atomic { true ->
      AT_PEER;
      TO(heir, grant_sequence[ID(heir)] = SEQUENCE(heir));
      TO(heir, grant[ID(heir)] = (budget > 0 -> budget - 1 : 0));
      forget()
    };
    goto Outside
  MAY_DIE
  fi;
Released:
  if
  :: atomic { true -> forget() }; goto Outside
  MAY_DIE
  fi;
Finished:
  atomic { forget(); sequence = 0 };
Killed:
  finished++
}

/* The other cohort, with one process, which does not die. */
proctype Local() {
  byte turns, i;

Outside:
  if
  :: atomic { turns < LOCAL_TURNS -> turns++; local_tail = 1 } /* A3 */
  :: turns == LOCAL_TURNS -> goto Finished
  fi;
B1:
  if
  :: atomic { remote_tail == 0 -> enter(NR) }; goto Mine
  :: remote_tail != 0
  fi;
B2:
  victim = LOCAL;
B3:
  atomic { remote_tail == 0 || victim != LOCAL -> enter(NR) };
Mine:
#ifdef DATA
  atomic { version++; first_half = newest + 2 };
  atomic { version++; second_half = version; newest = version };
#endif
  atomic { holds[NR] = 0; local_tail = 0 }; /* R1 */
  goto Outside;
Finished:
  atomic { turns = 0; finished++ }
}

#ifdef ZOMBIES
proctype Fate() {
  byte p;

  do
  :: p < MORTAL ->
    if
    :: atomic { true -> dead[p] = 1; deaths++; p++ }
    :: p++
    fi
  :: p >= MORTAL -> break
  od;
  finished++
}
#define ALL (NR + 2)
#else
#define ALL (NR + 1)
#endif

#ifdef NO_VERSIONS
#define OLDER(made) (made != 0) /* Wrong: replays over what came later. */
#else
#define OLDER(made) (version < made)
#endif

/* Redo records of the run of dead words, nearest to the head first. */
inline repair_data() {
#ifdef DATA
  atomic { n = length };
  do
  :: n == 0 -> break
  :: n > 0 ->
    n--;
    if
    :: atomic { OLDER(redo[ID(gone[n])]) -> holds[NR + 1] = 1; check_alone(NR + 1) };
      atomic {
        version = redo[ID(gone[n])];
        first_half = version;
        second_half = version;
        newest = version;
        check_alone(NR + 1);
        holds[NR + 1] = 0
      }
    :: !OLDER(redo[ID(gone[n])])
    fi
  od
#else
  skip
#endif
}

inline clear_run() {
  d_step {
    s = 0;
    x = 0;
    do
    :: length == 0 -> break
    :: length > 0 -> length--; gone[length] = 0
    od
  }
}

/* S's answer: it has, or had. */
#define HAS_GRANT(w) \
  (word[ID(w)] != w || (grant_sequence[ID(w)] == SEQUENCE(w) && grant[ID(w)] != WAIT))

proctype Home() {
#ifdef WALKS
  byte walks;
#endif
  byte at, s, x, length, n, i, handled;
  byte gone[MORTAL]; /* A run of dead words, nearest to the tail first. */

Idle:
  if
  :: atomic { handled != deaths -> handled = deaths; at = remote_tail }
#ifdef WALKS
  :: atomic { walks < WALKS -> walks++; at = remote_tail }
#endif
  :: handled == deaths && finished == ALL -> goto Finished
  fi;
Walk: /* Word by word; others come between. */
  if
  :: at == 0 -> goto Walked
  :: at != 0 && intent_word[ID(at)] != at -> goto Walked /* It has left. */
  :: atomic { at != 0 && intent_word[ID(at)] == at && dead[ID(at)] ->
      gone[length] = at;
      length++;
      at = intent_pred[ID(at)]
    };
    goto Walk
  :: atomic { at != 0 && intent_word[ID(at)] == at && !dead[ID(at)] && length == 0 ->
      s = at;
      at = intent_pred[ID(at)]
    };
    goto Walk
  :: atomic { at != 0 && intent_word[ID(at)] == at && !dead[ID(at)] && length != 0 ->
      x = at /* A run, with somebody before it. */
    }
  fi;
M1:
  if
  :: dead[ID(x)] -> goto Again
  /* Left: at once, though the grant may still be on its way. */
  :: atomic { !dead[ID(x)] && (word[ID(x)] != x || taken[ID(x)]) -> x = 0 }; goto NoX
  :: atomic { !dead[ID(x)] && word[ID(x)] == x && !taken[ID(x)] ->
#ifndef NO_STAND_BY /* Not wrong by itself: then M3 may find that X has left. */
      stands_by[ID(x)] = 1;
#endif
      if
#ifdef ONLY_D1
      /* Wrong: next may be a successor that M3 named, and that has died since. */
      :: next[ID(x)] == gone[length - 1] -> next[ID(x)] = 0
#else
      :: next[ID(x)] != 0 && dead[ID(next[ID(x)])] -> next[ID(x)] = 0
#endif
      :: else
      fi
    }
  fi;
  if
  :: s != 0 -> goto M3
  :: s == 0
  fi;
M2: /* Through the fabric. If it fails, somebody has come behind the run. */
  if
  :: atomic { remote_tail == gone[0] -> remote_tail = x }
  :: remote_tail != gone[0] -> goto Again
  fi;
M4:
  if
  :: dead[ID(x)] -> goto Again
  :: atomic { !dead[ID(x)] ->
      if
      :: word[ID(x)] == x ->
        stands_by[ID(x)] = 0;
#ifdef M4_CLEARS
        next[ID(x)] = 0; /* Wrong: a successor may have come between M2 and M4. */
#endif
        again[ID(x)] = 1
      :: else
      fi
    };
    goto Handled
  fi;
M3:
  if
  :: dead[ID(x)] -> goto Again
  :: atomic { !dead[ID(x)] ->
#ifdef M3_ALWAYS
      stands_by[ID(x)] = 0;
      next[ID(x)] = s /* Wrong with NO_STAND_BY: X had S from an earlier repair, and may have left. */
#else
      if
      :: word[ID(x)] == x && !taken[ID(x)] -> stands_by[ID(x)] = 0; next[ID(x)] = s
      :: else
      fi
#endif
    };
    goto Handled
  fi;
Walked: /* The queue begins here: whoever was before has left. */
  if
  :: length == 0 -> goto Done
  :: length != 0
  fi;
NoX:
  if
  :: s == 0 -> goto NoS
  :: s != 0
  fi;
M5:
  if
  :: dead[ID(s)] -> goto Again
  :: !dead[ID(s)] && HAS_GRANT(s) -> goto Handled
  :: !dead[ID(s)] && !HAS_GRANT(s)
  fi;
  repair_data();
  if
  :: dead[ID(s)] -> goto Again
  :: atomic { !dead[ID(s)] ->
      if
      :: !HAS_GRANT(s) ->
        grant[ID(s)] = 0;
#ifdef NOT_SPOILT
        skip /* Wrong: an earlier X's grant may land in S's next acquisition. */
#else
        spoilt[ID(s)] = 1
#endif
      :: else
      fi
    };
    goto Handled
  fi;
NoS:
  repair_data();
  if
  :: atomic { remote_tail == gone[0] -> remote_tail = 0 } /* M2 */
  :: remote_tail != gone[0] -> goto Again
  fi;
Handled: /* This run. On towards the head, if there is more. */
  atomic { clear_run() };
  goto Walk;
Again:
  atomic { clear_run(); handled = deaths; at = remote_tail };
  goto Walk;
Done:
  atomic { clear_run(); at = 0 };
  goto Idle;
Finished:
  assert(remote_tail == 0);
  assert(NEWEST_FOUND)
}

init {
  byte p = 0;
  atomic {
    do
    :: p < NR -> run Remote(p); p++
    :: p >= NR -> break
    od;
    run Local();
#ifdef ZOMBIES
    run Fate();
#endif
    run Home();
    p = 0
  }
}
