import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { describe, expect, it, vi } from 'vitest';
import { endWithCalls } from '../../platform/temporal-connections.ts';

describe('the context of calls to Temporal', () => {
  it('is there until the last of them has ended, and off then', async () => {
    const storage = new AsyncLocalStorage<string>();
    const disable = vi.spyOn(storage, 'disable');
    endWithCalls(storage);
    const seen: unknown[] = [];
    const call = (name: string, turns: number) =>
      storage.run(name, async () => {
        for (let at = 0; at < turns; at += 1) await turn();
        seen.push(
          storage.run(`${name} within`, () => storage.getStore()),
          storage.getStore(),
        );
      });
    const long = call('long', 6);
    await call('short', 2);
    expect(disable).not.toHaveBeenCalled();
    await long;
    await turn();
    expect(seen).toEqual(['short within', 'short', 'long within', 'long']);
    expect(disable).toHaveBeenCalledOnce();
    expect(storage.getStore()).toBeUndefined();
  });

  it('ends with calls that fail', async () => {
    const storage = new AsyncLocalStorage<string>();
    const disable = vi.spyOn(storage, 'disable');
    endWithCalls(storage);
    const thrown = () => {
      throw new Error('at once');
    };
    expect(() => storage.run('a', thrown)).toThrow('at once');
    await expect(storage.run('b', () => Promise.reject(new Error('later')))).rejects.toThrow();
    await turn();
    expect(disable).toHaveBeenCalledTimes(2);
    expect(storage.run('c', () => storage.getStore())).toBe('c');
  });

  it('is where the SDK has it', async () => {
    const connection = Connection.lazy({ address: '127.0.0.1:1' });
    expect(connection.callContextStorage).toBeInstanceOf(AsyncLocalStorage);
    const seen = connection.withDeadline(7, () =>
      Promise.resolve(connection.callContextStorage.getStore()),
    );
    expect(await seen).toMatchObject({ deadline: 7 });
    await connection.close();
  });
});
