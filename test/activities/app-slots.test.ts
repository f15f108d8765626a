import { expect, test } from 'vitest';
import { createAppSlots } from '../../activities/app-slots.ts';

test('an app takes a quarter of the slots, and others take theirs beside it', () => {
  const slots = createAppSlots(8);
  const first = slots.take('slow');
  expect(first).toBeDefined();
  expect(slots.take('slow')).toBeDefined();
  expect(slots.take('slow')).toBeUndefined();
  expect(slots.take('other')).toBeDefined();
  first?.();
  expect(slots.take('slow')).toBeDefined();
});

test('a slot given back twice frees one', () => {
  const slots = createAppSlots(4);
  const giveBack = slots.take('app');
  giveBack?.();
  giveBack?.();
  expect(slots.take('app')).toBeDefined();
  expect(slots.take('app')).toBeUndefined();
});

test('even a worker of one slot lets an app send', () => {
  expect(createAppSlots(1).take('app')).toBeDefined();
});
