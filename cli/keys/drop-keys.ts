import type { Client } from '@temporalio/client';
import type { DataKeyStore, DropOutcome } from '../../vault/data-key-store.ts';
import { renderAge } from './key-report.ts';

const askLimitMs = 10_000;
const slackMs = 86_400_000;

/**
 * How long after its retirement a data key may still be needed by a sealed result in a history: as long
 * as the namespace really keeps them, or is said to, and a day. Rejects when Temporal cannot be asked.
 */
export async function historiesNeedKeysForMs(
  temporal: Client,
  configuredRetentionMs: number,
): Promise<number> {
  const { namespace } = temporal.options;
  const { config } = await temporal.withDeadline(Date.now() + askLimitMs, () =>
    temporal.workflowService.describeNamespace({ namespace }),
  );
  const seconds = Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0);
  return Math.max(1_000 * seconds, configuredRetentionMs) + slackMs;
}

/**
 * Drops the data keys of these ids, or every retired one that can be. Answers a line for each, and
 * whether all that were named are gone.
 */
export async function dropKeys(
  dataKeys: Pick<DataKeyStore, 'drop' | 'listRetired'>,
  ids: readonly string[],
  neededForMs: number,
): Promise<{ lines: string[]; isDone: boolean }> {
  const isNamed = ids.length > 0;
  const chosen = isNamed ? ids : (await dataKeys.listRetired()).map(({ id }) => id);
  const lines: string[] = [];
  let isDone = true;
  for (const id of chosen) {
    const outcome = await dataKeys.drop(id, neededForMs);
    lines.push(`${id}  ${describeOutcome(outcome, neededForMs)}`);
    if (outcome !== 'dropped' && isNamed) isDone = false;
  }
  if (lines.length === 0) lines.push('No data key is retired.');
  return { lines, isDone };
}

function describeOutcome(outcome: DropOutcome, neededForMs: number): string {
  const stays = {
    current: 'stays: it is current; rotate first',
    in_use: 'stays: rows refer to it; seal them anew with `token-manager keys reseal`',
    too_recent:
      `stays: it was retired less than ${renderAge(neededForMs)} ago, and results sealed with it may ` +
      'lie in histories',
    unknown: 'is not there',
  };
  return outcome === 'dropped' ? 'dropped' : stays[outcome];
}
