"""From what was asked to a plan that can be approved: choose, estimate, lay out on tiles. `build.build_plan` is the way in."""
