"""GUARDRAILS: what is done to a policy's choice before an arm is drawn, one pure function each, in this order.

|   | module        | takes → gives                                                                           |
|---|---------------|-----------------------------------------------------------------------------------------|
| 1 | `eligibility` | arms, context → the arms that the rules admit                                           |
| 2 | `frequency`   | arms, what the subject saw → the arms that it has not seen too often                    |
| 3 | `assignment`  | subject → in the holdout or a rollout's share, or not; the same answer every time       |
| 4 | `diversity`   | weights → weights of at least so many effective arms                                    |
| 5 | `budget`      | weights, costs → weights that spend only what is left                                   |
| 6 | the floors    | weights → propensities, each at least its floor (`models/chances/floor.py`)             |
| 7 | `cap`         | propensities → propensities below their ceilings, never below a floor                   |
| 8 | `sticky`      | subject, propensities → the person's own arm, in place of a draw by chance              |

Steps 4 to 7 take a distribution and give one: entries are never negative and come to 1. What a step promises holds
after it; a later step wins over an earlier one. `chain.py` puts 4 to 7 together for one snapshot. What is logged is
the vector that comes out at the end, with the names of the steps that changed something.
"""
