const refreshWorkflowIds = /^refresh\/(.+)$/;

/**
 * Fields of a line of the Temporal SDK under the names that our own lines have: `run_id` for `runId`,
 * an error under `err`, and the connection that a refresh is of.
 */
export function describeSdkMeta(meta: Record<string, unknown>): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(meta)) {
    if (value instanceof Error) fields['err'] = value;
    else fields[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value;
  }
  const workflowId = meta['workflowId'];
  const connectionId =
    typeof workflowId === 'string' ? refreshWorkflowIds.exec(workflowId)?.[1] : undefined;
  return connectionId === undefined ? fields : { connection_id: connectionId, ...fields };
}
