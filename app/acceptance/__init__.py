"""Site acceptance: does this installation give the values that it must give?"""
