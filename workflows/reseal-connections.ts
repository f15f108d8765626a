import {
  continueAsNew,
  proxyActivities,
  setCurrentDetails,
  sleep,
  upsertMemo,
} from '@temporalio/workflow';
import type { MaintenanceActivities } from '../activities/maintenance.ts';
import type {
  ResealConnectionsInput,
  ResealPosition,
  ResealProgress,
  ResealSummary,
} from '../client/contract.ts';

/** More than an hour; some thousands of events by then. */
const turnsMax = 400;
/** Rows that were locked, or written, are free by then. */
const passPauseMs = 2_000;
const start: ResealPosition = { table: 'connections', after: null };

const { resealRows, resealStanding } = proxyActivities<MaintenanceActivities>({
  startToCloseTimeout: '1m',
  // A worker that died is noticed soon, and the next one goes on where it was.
  heartbeatTimeout: '10s',
  // Unlimited: PostgreSQL and the key service come back.
  retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '30s' },
});

/**
 * Seals with the current data keys what retired ones have sealed, table by table; Workflow ID
 * `reseal/<sweep Task Queue>`. What is left to be done is in PostgreSQL, so a run may be cancelled,
 * terminated or begun again at any time. Ends when nothing refers to a retired key and no process seals
 * with one any more, or nothing but what does not open.
 */
export async function resealConnections(input: ResealConnectionsInput): Promise<ResealSummary> {
  const { rowsPerSecond, settleMs, resumed } = input;
  let at = resumed?.at ?? start;
  const progress = resumed?.progress ?? {
    total: (await resealStanding({ settleMs })).stale,
    resealed: 0,
    unopenable: 0,
    pass: 1,
    table: at.table,
  };
  tell(progress);
  for (let turn = 0; turn < turnsMax; turn += 1) {
    const step = await resealRows({ at, rowsPerSecond });
    progress.resealed += step.resealed;
    progress.unopenable += step.unopenable;
    progress.table = step.next?.table ?? null;
    tell(progress);
    if (step.next !== null) {
      at = step.next;
      continue;
    }
    const { stale, settlesInMs } = await resealStanding({ settleMs });
    if (settlesInMs === 0 && stale <= progress.unopenable) {
      return { resealed: progress.resealed, passes: progress.pass, left: stale };
    }
    await sleep(Math.max(settlesInMs, passPauseMs));
    at = start;
    progress.pass += 1;
    progress.unopenable = 0;
  }
  return continueAsNew<typeof resealConnections>({
    rowsPerSecond,
    settleMs,
    resumed: { progress, at },
  });
}

function tell(progress: ResealProgress): void {
  const { resealed, total, pass, table, unopenable } = progress;
  setCurrentDetails(
    `Pass ${pass}: ${resealed} of ${total} rows are sealed with the current data keys; ` +
      (table === null ? 'waits until no process seals with the old ones' : `at ${table}`) +
      (unopenable === 0 ? '.' : `; ${unopenable} do not open.`),
  );
  upsertMemo({ progress: { ...progress } });
}
