import type { QueryResultRow } from 'pg';
import { openGateColumns, openGateFromRow, type OpenGateRow } from './app-gates.ts';
import type { AppLimits } from './app.ts';
import {
  connectionColumns,
  connectionFromRow,
  connectionTables,
  type ConnectionRow,
} from './connection-row.ts';
import type { ExchangeSubject, RefreshIntent } from './exchange.ts';
import { queryStore, type Queryable } from './store-query.ts';

/** What `intentFromRow` reads, of `refresh_intents i`, which may be joined by `left join`. */
export const intentColumns = `i.generation as intent_generation, i.attempt as intent_attempt, i.claim_id,
        i.replays, i.workflow_run_id, i.first_sent_at, i.answer_by, i.late_attempt, i.late_sealed`;

export interface IntentRow {
  intent_generation: string | null;
  intent_attempt: string;
  claim_id: string;
  replays: number;
  workflow_run_id: string;
  first_sent_at: Date;
  answer_by: Date;
  late_attempt: string | null;
  late_sealed: Buffer | null;
}

interface SubjectRow extends ConnectionRow, IntentRow, OpenGateRow {
  attempt: string;
  sealed_access_token: Buffer | null;
  sealed_refresh_token: Buffer | null;
  sealed_dpop_key: Buffer | null;
  last_sent_at: Date | null;
  recent_sends: Date[];
  refresh_token_expires_at: Date | null;
  client_id: string;
  app_generation: string;
  sealed_client_secrets: Buffer | null;
  overrides: Record<string, unknown>;
  limits: AppLimits;
}

/** Everything that the exchange needs of one connection, in one statement. */
export async function loadSubject(
  store: Queryable,
  connectionId: string,
): Promise<ExchangeSubject | undefined> {
  const [row] = await queryStore<SubjectRow & QueryResultRow>(store, {
    name: 'load-exchange-subject',
    text: `select ${connectionColumns}, c.attempt, c.sealed_access_token, c.sealed_refresh_token,
        c.sealed_dpop_key, c.last_sent_at, c.recent_sends,
        least(c.refresh_token_expires_at, c.reauthorize_by) as refresh_token_expires_at,
        a.client_id, a.generation as app_generation, a.sealed_client_secrets, a.overrides, a.limits,
        ${intentColumns},
        ${openGateColumns}
      from ${connectionTables}
      left join refresh_intents i on i.connection_id = c.id
      where c.id = $1`,
    values: [connectionId],
  });
  if (row === undefined) return undefined;
  const connection = connectionFromRow(row);
  return {
    connection,
    attempt: Number(row.attempt),
    sealedAccessToken: row.sealed_access_token,
    sealedRefreshToken: row.sealed_refresh_token,
    sealedDpopKey: row.sealed_dpop_key,
    lastSentAt: row.last_sent_at,
    recentSends: row.recent_sends,
    refreshTokenExpiresAt: row.refresh_token_expires_at,
    app: {
      id: connection.appId,
      provider: connection.provider,
      clientId: row.client_id,
      generation: Number(row.app_generation),
      sealedClientSecrets: row.sealed_client_secrets,
      overrides: row.overrides,
      limits: row.limits,
      pausedReason: connection.app.pausedReason,
      pausedUntil: connection.app.pausedUntil,
    },
    intent: intentFromRow(row),
    openGate: openGateFromRow(row),
  };
}

/** Null: there is no intent. */
export function intentFromRow(row: IntentRow): RefreshIntent | null {
  if (row.intent_generation === null) return null;
  return {
    generation: Number(row.intent_generation),
    attempt: Number(row.intent_attempt),
    claimId: row.claim_id,
    replays: row.replays,
    workflowRunId: row.workflow_run_id,
    firstSentAt: row.first_sent_at,
    answerBy: row.answer_by,
    late:
      row.late_attempt === null || row.late_sealed === null
        ? null
        : { attempt: Number(row.late_attempt), sealed: row.late_sealed },
  };
}
