import pg from 'pg';
import type { TestDatabase } from '../support/database.ts';

const schema = 'model';
const epoch = '2030-01-01T00:00:00Z';
/** What the database's clock shows when no virtual time has passed, in milliseconds since 1970. */
export const modelEpochMs = Date.parse(epoch);

/** One session on the test database, whose clock stands still until it is set. */
export interface ModelSession {
  pool: pg.Pool;
  /** What `clock_timestamp()` answers from now on, but for a few microseconds a statement. */
  setTime(nowMs: number): Promise<void>;
  end(): Promise<void>;
}

/** `clock_timestamp()` of sessions whose search path begins with the schema `model`. */
export async function installModelClock({ pool }: TestDatabase): Promise<void> {
  await pool.query(`create schema ${schema}`);
  // Each reading is later than the one before, as on a real clock.
  await pool.query(`create function ${schema}.clock_timestamp() returns timestamptz
    language sql volatile parallel unsafe as $$
      select timestamptz '${epoch}'
        + make_interval(secs => current_setting('model.now_ms')::double precision / 1000)
        + nextval('pg_temp.tick'::text::regclass) * interval '2 microseconds'
    $$`);
}

/** Opens a session; one of them serves one run of the model at a time. */
export async function openModelSession({ url }: TestDatabase): Promise<ModelSession> {
  const pool = new pg.Pool({
    connectionString: url,
    max: 1,
    idleTimeoutMillis: 0,
    options: `-c search_path=${schema},pg_catalog,public -c model.now_ms=0 -c jit=off`,
  });
  await pool.query('create temp sequence tick');
  return {
    pool,
    async setTime(nowMs) {
      await pool.query({
        name: 'set-model-time',
        text: `select set_config('model.now_ms', $1, false), setval('pg_temp.tick', 1)`,
        values: [String(nowMs)],
      });
    },
    end: () => pool.end(),
  };
}
