import { queryStore, type Queryable } from './store-query.ts';

/** The database's clock, which decides what has expired. */
export async function readClock(store: Queryable): Promise<Date> {
  const [row] = await queryStore<{ now: Date }>(store, {
    name: 'read-clock',
    text: 'select clock_timestamp() as now',
    values: [],
  });
  if (row === undefined) throw new Error('the database did not tell the time');
  return row.now;
}
